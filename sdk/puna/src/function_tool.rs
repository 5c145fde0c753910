use std::{future::Future, marker::PhantomData, sync::Arc};

use async_trait::async_trait;
use puna_core::{Tool, ToolContext, ToolError, ToolErrorKind, ToolSchema};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// A tool from an async Rust function: the arguments' type gives the JSON Schema.
///
/// ```
/// use puna::{Tool, tool};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Lookup {
///     city: String,
/// }
///
/// #[derive(serde::Serialize)]
/// struct Population {
///     people: u64,
/// }
///
/// let population = tool("population", "Tell how many people live in a city.", |lookup: Lookup| async move {
///     match lookup.city.as_str() {
///         "La Paz" => Ok(Population { people: 755_732 }),
///         city => Err(puna::ToolError::new(puna::ToolErrorKind::NotFound, format!("no city `{city}`"))),
///     }
/// });
/// assert_eq!(population.schema().name, "population");
/// ```
pub fn tool<Arguments, Output, Function, Running>(
    name: impl Into<String>,
    description: impl Into<String>,
    function: Function,
) -> Arc<dyn Tool>
where
    Arguments: DeserializeOwned + JsonSchema + Send + Sync + 'static,
    Output: Serialize,
    Function: Fn(Arguments) -> Running + Send + Sync + 'static,
    Running: Future<Output = Result<Output, ToolError>> + Send + 'static,
{
    Arc::new(FunctionTool {
        schema: ToolSchema::of::<Arguments>(name, description),
        function,
        arguments: PhantomData::<fn() -> Arguments>,
    })
}

struct FunctionTool<Arguments, Function> {
    schema: ToolSchema,
    function: Function,
    arguments: PhantomData<fn() -> Arguments>,
}

#[async_trait]
impl<Arguments, Output, Function, Running> Tool for FunctionTool<Arguments, Function>
where
    Arguments: DeserializeOwned + Send + Sync,
    Output: Serialize,
    Function: Fn(Arguments) -> Running + Send + Sync,
    Running: Future<Output = Result<Output, ToolError>> + Send + 'static,
{
    fn schema(&self) -> &ToolSchema {
        &self.schema
    }

    async fn call(&self, arguments: Value, _context: &ToolContext) -> Result<Value, ToolError> {
        let arguments = serde_json::from_value(arguments)
            .map_err(|error| ToolError::new(ToolErrorKind::InvalidInput, error.to_string()))?;
        let output = (self.function)(arguments).await?;
        serde_json::to_value(output).map_err(|error| {
            ToolError::new(ToolErrorKind::InvalidOutput, format!("the result does not serialise: {error}"))
        })
    }
}
