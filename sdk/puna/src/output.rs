use std::{fs::File, io::Read, path::Path};

use puna_agent::OutputSchema;
use puna_core::{DEFAULT_REPAIRS, Error, ErrorKind, OutputForm, Result};
use puna_inference::OnnxModel;
use puna_spec::{AgentSpec, OutputSpec, SchemaSpec};
use serde_json::Value;

/// Largest file of a schema, in bytes: four times what a schema may hold, so that it can be indented.
const MAX_SCHEMA_FILE_BYTES: u64 = 1 << 20;

/// Reads a JSON Schema from a file, and checks it.
///
/// # Errors
/// [`NotFound`](ErrorKind::NotFound) and the like when the file cannot be read,
/// [`InvalidInput`](ErrorKind::InvalidInput) when it is no JSON Schema or refers to elsewhere,
/// [`ResourceExhausted`](ErrorKind::ResourceExhausted) when it is beyond a limit.
pub fn read_schema(path: impl AsRef<Path>) -> Result<Value> {
    let path = path.as_ref();
    let fail = |error| Error::from_io("read the schema", path, error);
    let mut text = String::new();
    let file = File::open(path).map_err(fail)?;
    file.take(MAX_SCHEMA_FILE_BYTES + 1).read_to_string(&mut text).map_err(fail)?;
    if text.len() as u64 > MAX_SCHEMA_FILE_BYTES {
        let message = format!("the schema `{}` has more than {MAX_SCHEMA_FILE_BYTES} bytes", path.display());
        return Err(Error::new(ErrorKind::ResourceExhausted, message));
    }
    let in_file = |error: Error| error.context(format_args!("schema `{}`", path.display()));
    let schema = serde_json::from_str(&text)
        .map_err(|error| in_file(Error::invalid_input(format!("not JSON: {error}"))))?;
    OutputSchema::new(&schema).map_err(in_file)?;
    Ok(schema)
}

/// Checks the schema that a spec names or holds.
///
/// # Errors
/// Those of [`read_schema`].
pub fn check_output(spec: &AgentSpec) -> Result<()> {
    form(&spec.output).map(|_| ())
}

/// The form that an agent's answers have.
pub(crate) fn form(spec: &OutputSpec) -> Result<Option<OutputForm>> {
    let schema = match &spec.schema {
        None => return Ok(None),
        Some(SchemaSpec::File(file)) => read_schema(file)?,
        Some(SchemaSpec::Inline(schema)) => {
            let schema = Value::Object(schema.clone());
            OutputSchema::new(&schema)?;
            schema
        }
    };
    Ok(Some(OutputForm { schema, repairs: spec.repairs.unwrap_or(DEFAULT_REPAIRS) }))
}

/// A line to show about what a schema asks for and the model is not held to while it generates.
///
/// # Errors
/// For a schema that cannot be held at all.
pub(crate) fn told(model: &OnnxModel, form: &OutputForm) -> Result<Option<String>> {
    let keywords = model.unconstrained(&form.schema)?;
    let line = || {
        let shown = keywords.join("`, `");
        format!("the schema's `{shown}` is not held while the model writes; answers are checked for it")
    };
    Ok((!keywords.is_empty()).then(line))
}
