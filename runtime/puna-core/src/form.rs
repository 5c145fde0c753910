use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::{ToolChoice, tool::short_schema_of};

/// How often a model is asked again unless told otherwise: what two reasons do not mend, a third rarely does.
pub const DEFAULT_REPAIRS: u32 = 2;

/// The form of an answer: JSON that satisfies a schema, alone or in a code fence. Any other text around it is a mistake, for
/// which the model is asked again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputForm {
    /// The JSON Schema, of draft 2020-12 unless it names another.
    pub schema: Value,
    /// How often the model is asked again in one turn when its answer does not have the form; each time is a step.
    #[serde(default = "default_repairs")]
    pub repairs: u32,
}

impl OutputForm {
    /// A form with [`DEFAULT_REPAIRS`].
    pub fn new(schema: Value) -> Self {
        Self { schema, repairs: DEFAULT_REPAIRS }
    }

    /// The form of a Rust type.
    ///
    /// ```
    /// #[derive(schemars::JsonSchema)]
    /// struct Price { euros: u32 }
    /// let form = puna_core::OutputForm::of::<Price>();
    /// assert_eq!(form.schema["required"], serde_json::json!(["euros"]));
    /// ```
    pub fn of<T: JsonSchema>() -> Self {
        Self::new(short_schema_of::<T>())
    }
}

/// How a turn is to be taken. It is recorded when the turn starts, so that a later process goes on the same way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TurnForm {
    /// The form of the answer; without it, any text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputForm>,
    /// Whether tools are called. What is `required` or named holds for the turn's first step alone: after the calls
    /// have their results the model must be free to answer, or the turn could not end.
    #[serde(skip_serializing_if = "is_auto")]
    pub tool_choice: ToolChoice,
    /// Whether a step may have several calls.
    #[serde(skip_serializing_if = "Clone::clone")]
    pub parallel_tool_calls: bool,
}

impl Default for TurnForm {
    fn default() -> Self {
        Self { output: None, tool_choice: ToolChoice::Auto, parallel_tool_calls: true }
    }
}

impl TurnForm {
    /// Whether it asks for nothing.
    pub fn is_free(&self) -> bool {
        *self == Self::default()
    }
}

fn default_repairs() -> u32 {
    DEFAULT_REPAIRS
}

fn is_auto(choice: &ToolChoice) -> bool {
    *choice == ToolChoice::Auto
}

/// A value that is there, which may be `null`: serde alone takes that for one that is not.
pub(crate) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}
