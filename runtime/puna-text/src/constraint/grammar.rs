//! The grammar of an answer: calls in a dialect's form, and what else may be said.
//!
//! The lexer of the engine takes the longest lexeme and never goes back, so the parts are cut such that two that begin
//! alike are never both possible beyond the point where they differ: free text is what does not begin a call, as one
//! regular expression, and a call's beginning up to its arguments is one literal.

use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use puna_core::{Constraint, Error, ErrorKind, Result, ToolChoice, ToolSchema};
use serde_json::{Value, json};

use super::{AnswerForm, check_source, schema, vocabulary::Vocabulary};
use crate::Dialect;

/// Most tools in one constraint.
const MAX_TOOLS: usize = 512;

/// What stands between a call's items and after its keys: the form that every dialect's template shows the model.
const CALL_SPACING: (&str, &str) = (", ", ": ");

/// The same in an answer, where a model may leave the blank out.
const ANSWER_SPACING: (&str, &str) = (", ?", ": ?");

/// Any text.
const ANY: &str = "/(?s:.*)/";

/// Blanks.
const BLANKS: &str = r"/[ \t\r\n]*/";

/// Writes the grammar, and tells what of the schemas it does not hold.
pub(super) fn write(
    form: &AnswerForm<'_>,
    vocabulary: &Vocabulary,
) -> Result<(TopLevelGrammar, Vec<String>)> {
    let mut writer =
        Writer { vocabulary, form, rules: String::new(), parts: Vec::new(), left_out: Vec::new() };
    let tools = chosen(form)?;
    let start = match form.choice {
        ToolChoice::None => writer.answer_or_text(form.tools)?,
        ToolChoice::Auto => writer.calls_or_else(tools)?,
        ToolChoice::Required | ToolChoice::Named(_) => {
            let calls = writer.calls(tools)?;
            format!("{}{calls}", writer.opening())
        }
    };
    writer.rule("start", &start);
    let mut grammars = vec![GrammarWithLexer::from_lark(writer.rules)];
    grammars.append(&mut writer.parts);
    Ok((TopLevelGrammar { grammars, max_tokens: None }, writer.left_out))
}

/// The tools that may be called.
fn chosen<'a>(form: &AnswerForm<'a>) -> Result<&'a [ToolSchema]> {
    let tools = form.tools;
    if tools.len() > MAX_TOOLS {
        return Err(Error::new(
            ErrorKind::ResourceExhausted,
            format!("{} tools are given; {MAX_TOOLS} can be held", tools.len()),
        ));
    }
    match form.choice {
        ToolChoice::Auto | ToolChoice::None => Ok(tools),
        ToolChoice::Required if tools.is_empty() => {
            Err(Error::invalid_input("a call is required and there is no tool; give one, or choose `auto`"))
        }
        ToolChoice::Required => Ok(tools),
        ToolChoice::Named(name) => match tools.iter().position(|tool| tool.name == *name) {
            Some(at) => Ok(&tools[at..=at]),
            None => {
                let names: Vec<_> = tools.iter().map(|tool| format!("`{}`", tool.name)).collect();
                Err(Error::new(
                    ErrorKind::NotFound,
                    format!("a call of `{name}` is required; the tools are {}", names.join(", ")),
                ))
            }
        },
    }
}

struct Writer<'a> {
    vocabulary: &'a Vocabulary,
    form: &'a AnswerForm<'a>,
    /// Lark.
    rules: String,
    /// Grammars that it refers to.
    parts: Vec<GrammarWithLexer>,
    left_out: Vec<String>,
}

impl Writer<'_> {
    fn rule(&mut self, name: &str, body: &str) {
        self.rules.push_str(&format!("{name}: {body}\n"));
    }

    /// A reference to a schema as a grammar of its own.
    fn schema(&mut self, name: &str, schema: &Value, spacing: (&str, &str)) -> Result<String> {
        let mut prepared = schema::prepare(schema).map_err(|error| error.context(format!("`{name}`")))?;
        self.left_out.extend(prepared.unconstrained.iter().map(|path| format!("{name}#{path}")));
        prepared.schema["x-guidance"] = json!({
            "item_separator": spacing.0,
            "key_separator": spacing.1,
            // A model that may write blanks may write them for ever.
            "whitespace_flexible": false,
            // One spelling for each text, so that a name cannot come twice in disguise.
            "json_allowed_escapes": "nrbtf\\\"",
        });
        let part = format!("part_{}", self.parts.len());
        self.parts.push(GrammarWithLexer {
            name: Some(part.clone()),
            json_schema: Some(prepared.schema),
            ..Default::default()
        });
        Ok(format!("@{part}"))
    }

    /// The answer's own form, or any text that begins no call.
    fn answer_or_text(&mut self, tools: &[ToolSchema]) -> Result<String> {
        if let Some(answer) = self.form.answer {
            return self.answer(answer);
        }
        let text = self.text(tools);
        self.rule("TEXT", &text);
        Ok("TEXT?".to_owned())
    }

    fn answer(&mut self, answer: &Constraint) -> Result<String> {
        match answer {
            Constraint::JsonSchema(schema) => self.schema("answer", schema, ANSWER_SPACING),
            Constraint::Regex(source) => {
                check_source("regular expression", source)?;
                self.parts.push(GrammarWithLexer {
                    name: Some("answer".to_owned()),
                    ..GrammarWithLexer::from_regex(source)
                });
                Ok("@answer".to_owned())
            }
            Constraint::Lark(source) => {
                check_source("grammar", source)?;
                self.parts.push(GrammarWithLexer {
                    name: Some("answer".to_owned()),
                    ..GrammarWithLexer::from_lark(source.clone())
                });
                Ok("@answer".to_owned())
            }
        }
    }

    /// Calls, or what else may be said.
    fn calls_or_else(&mut self, tools: &[ToolSchema]) -> Result<String> {
        let rest = self.answer_or_text(tools)?;
        if tools.is_empty() {
            return Ok(rest);
        }
        let calls = self.calls(tools)?;
        let opening = self.opening();
        let before = match (self.form.answer, self.form.dialect, opening.starts_with('<')) {
            (None, Dialect::Hermes, false) => "text_before ",
            _ => "",
        };
        let _ = before;
        Ok(format!("{rest} | {opening}{calls}"))
    }

    /// What stands before the first call, as a grammar, with a blank behind it.
    fn opening(&self) -> String {
        match self.form.dialect {
            Dialect::LlamaJson => match self.vocabulary.special("<|python_tag|>") {
                Some(token) => format!("<[{token}]>? "),
                None => String::new(),
            },
            Dialect::Mistral => format!("{} ", self.token("[TOOL_CALLS]")),
            _ => String::new(),
        }
    }

    /// A token that the dialect has: special where the vocabulary has it so, else as text.
    fn token(&self, name: &str) -> String {
        match self.vocabulary.special(name) {
            Some(token) => format!("<[{token}]>"),
            None => literal(name),
        }
    }

    /// One call or several.
    fn calls(&mut self, tools: &[ToolSchema]) -> Result<String> {
        let key = if self.form.dialect == Dialect::LlamaJson { "parameters" } else { "arguments" };
        let mut calls = Vec::new();
        for (index, tool) in tools.iter().enumerate() {
            let arguments = self.schema(&tool.name, &tool.parameters, CALL_SPACING)?;
            let open = format!("{{\"name\": {}, \"{key}\": ", json!(tool.name));
            let name = format!("call_{index}");
            self.rule(&name, &format!("{} {arguments} \"}}\"", literal(&open)));
            calls.push(name);
        }
        self.rule("call", &calls.join(" | "));
        let several = self.form.parallel;
        Ok(match self.form.dialect {
            Dialect::Hermes => {
                let (open, close) = (self.token("<tool_call>"), self.token("</tool_call>"));
                self.rule("tagged", &format!("{open} \"\\n\" call \"\\n\" {close}"));
                if several { "tagged (\"\\n\" tagged)*" } else { "tagged" }.to_owned()
            }
            Dialect::Mistral if several => "\"[\" call (\", \" call)* \"]\"".to_owned(),
            Dialect::Mistral => "\"[\" call \"]\"".to_owned(),
            _ if several => "call (\"; \" call)*".to_owned(),
            _ => "call".to_owned(),
        })
    }

    /// Text that begins no call, as a regular expression.
    fn text(&self, _tools: &[ToolSchema]) -> String {
        let call = match self.form.dialect {
            Dialect::LlamaJson => format!("({BLANKS} \"{{\" {BLANKS} {} {ANY})", literal("\"name\"")),
            Dialect::Hermes => format!("({ANY} \"<tool_call>\" {ANY})"),
            Dialect::Mistral => format!("({ANY} \"[TOOL_CALLS]\" {ANY})"),
            _ => format!("({BLANKS} \"[\" {ANY})"),
        };
        format!("/(?s:.+)/ & ~{call}")
    }
}

/// A text as a Lark string.
fn literal(text: &str) -> String {
    json!(text).to_string().replace('\u{7f}', "\\u007f")
}
