use puna_core::{Error, Result};
use serde_json::Value;

use crate::{partial::Fenced, schema::Schema};

/// Mistakes told of one answer: what mends the first few often mends the rest.
const TOLD_MISTAKES: usize = 3;

/// A JSON Schema that answers are checked against, formats included. It is never fetched from elsewhere.
#[derive(Debug)]
pub struct OutputSchema(Schema);

impl OutputSchema {
    /// Reads a schema.
    ///
    /// # Errors
    /// [`InvalidInput`](puna_core::ErrorKind::InvalidInput) for one that is wrong or refers to elsewhere;
    /// [`ResourceExhausted`](puna_core::ErrorKind::ResourceExhausted) for one beyond a limit.
    pub fn new(schema: &Value) -> Result<Self> {
        Schema::new("output schema", schema, true).map(Self)
    }

    /// The value of an answer: of JSON alone, or of JSON in a code fence, as models without constraints write it
    /// whatever they are told. Any other text around it is a mistake.
    ///
    /// # Errors
    /// [`InvalidInput`](puna_core::ErrorKind::InvalidInput) with what is wrong, in words for the model;
    /// [`ResourceExhausted`](puna_core::ErrorKind::ResourceExhausted) where that takes too long to tell.
    pub fn read(&self, text: &str) -> Result<Value> {
        let mut json = Fenced::default();
        json.push(text);
        let value = json.finish()?;
        let mistakes = self.0.mistakes(&value, TOLD_MISTAKES)?.into_iter();
        let told = mistakes.map(|mistake| match mistake.path.as_str() {
            "" => mistake.text,
            path => format!("at `{path}`: {}", mistake.text),
        });
        let told: Vec<_> = told.collect();
        if told.is_empty() { Ok(value) } else { Err(Error::invalid_input(told.join("; "))) }
    }
}

/// What a model without constraints is told of the form, after its instructions.
pub(crate) fn instruction(schema: &Value) -> String {
    format!(
        "When you answer, and do not call a tool, answer with JSON alone, without any text or marks around it, that \
         satisfies this JSON Schema:\n{schema}"
    )
}

/// What a model is told of an answer without the form.
pub(crate) fn repair(reason: &str) -> String {
    format!(
        "Your answer does not have the form that was asked for: {reason}. Answer again, with the JSON alone."
    )
}
