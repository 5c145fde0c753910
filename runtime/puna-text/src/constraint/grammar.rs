//! The grammar of an answer: calls in a dialect's form, and what else may be said.
//!
//! The lexer of the engine takes the longest lexeme and never goes back, so the parts are cut such that two that begin
//! alike are never both possible beyond the place where they differ: free text is what does not begin a call, as one
//! regular expression, and a call's beginning up to its arguments is one literal.

use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use puna_core::{Constraint, Error, ErrorKind, Result, ToolChoice, ToolSchema};
use serde_json::{Map, Value, json};

use super::{AnswerForm, check_source, python, schema, vocabulary::Vocabulary};
use crate::Dialect;

/// Most tools in one constraint.
const MAX_TOOLS: usize = 512;

/// What stands between a call's items and behind its keys: the form that every dialect's template shows the model.
const CALL_SPACING: (&str, &str) = (", ", ": ");

/// The same in an answer, where a model may leave the blank out.
const ANSWER_SPACING: (&str, &str) = (", ?", ": ?");

/// Any text.
const ANY: &str = "/(?s:.*)/";

/// Blanks, of which a line may begin with any number.
const BLANKS: &str = r"/\s*/";

/// What stands before a call within free text: nothing, or lines.
const LINES: &str = "/(?s:(.*\\n)?)/";

/// What Llama may write around calls, in its tokens' names.
const PYTHON_TAG: &str = "<|python_tag|>";
const PYTHON_START: &str = "<|python_start|>";
const PYTHON_END: &str = "<|python_end|>";

/// Writes the grammar, and tells what of the schemas it does not hold.
pub(super) fn write(
    form: &AnswerForm<'_>,
    vocabulary: &Vocabulary,
) -> Result<(TopLevelGrammar, Vec<String>)> {
    let tools = chosen(form)?;
    let mut writer = Writer::default();
    let start = match form.choice {
        ToolChoice::None => writer.answer_or_text(form)?,
        ToolChoice::Auto if tools.is_empty() => writer.answer_or_text(form)?,
        ToolChoice::Auto => {
            let rest = writer.answer_or_text(form)?;
            let calls = writer.calls(form, tools, vocabulary)?;
            format!("{rest} | {calls}")
        }
        ToolChoice::Required | ToolChoice::Named(_) => writer.calls(form, tools, vocabulary)?,
    };
    writer.rule("start", &start);
    let mut grammars = vec![GrammarWithLexer::from_lark(writer.rules)];
    grammars.append(&mut writer.parts);
    writer.left_out.sort_unstable();
    writer.left_out.dedup();
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
                let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                Err(Error::new(
                    ErrorKind::NotFound,
                    format!("a call of `{name}` is required; the tools given: {names}"),
                ))
            }
        },
    }
}

/// A grammar in the making.
#[derive(Default)]
pub(super) struct Writer {
    /// Lark.
    rules: String,
    count: usize,
    /// Grammars that the rules refer to.
    parts: Vec<GrammarWithLexer>,
    left_out: Vec<String>,
}

impl Writer {
    pub(super) fn rule(&mut self, name: &str, body: &str) {
        self.rules.push_str(name);
        self.rules.push_str(": ");
        self.rules.push_str(body);
        self.rules.push('\n');
    }

    /// A rule's name that no other has.
    pub(super) fn name(&mut self) -> String {
        self.count += 1;
        format!("r{}", self.count)
    }

    /// Tells of a keyword that is not held.
    pub(super) fn leave_out(&mut self, path: String) {
        self.left_out.push(path);
    }

    /// Rewrites a schema for the engine.
    fn prepare(&mut self, name: &str, schema: &Value) -> Result<Value> {
        let prepared = schema::prepare(schema).map_err(|error| error.context(format!("`{name}`")))?;
        self.left_out.extend(prepared.unconstrained.iter().map(|path| format!("{name}#{path}")));
        Ok(prepared.schema)
    }

    /// A reference to a rewritten schema as a grammar of its own, in a call's spacing.
    pub(super) fn json(&mut self, prepared: Value) -> String {
        self.part(prepared, CALL_SPACING)
    }

    fn part(&mut self, mut prepared: Value, (item, key): (&str, &str)) -> String {
        prepared["x-guidance"] = json!({
            "item_separator": item,
            "key_separator": key,
            // A model that may write blanks may write them for ever.
            "whitespace_flexible": false,
            // One spelling for each text, so that a name cannot come twice in disguise.
            "json_allowed_escapes": "nrbtf\\\"",
        });
        let name = format!("part_{}", self.parts.len());
        self.parts.push(GrammarWithLexer {
            name: Some(name.clone()),
            json_schema: Some(prepared),
            ..Default::default()
        });
        format!("@{name}")
    }

    /// The answer's own form, or any text that begins no call.
    fn answer_or_text(&mut self, form: &AnswerForm<'_>) -> Result<String> {
        match form.answer {
            None => {
                let text = text(form);
                self.rule("TEXT", &text);
                Ok("TEXT?".to_owned())
            }
            Some(Constraint::JsonSchema(schema)) => {
                let prepared = self.prepare("answer", schema)?;
                Ok(self.part(prepared, ANSWER_SPACING))
            }
            Some(Constraint::Regex(source)) => {
                check_source("regular expression", source)?;
                schema::patterns::check_size("regular expression", source)?;
                Ok(self.source(GrammarWithLexer::from_regex(source)))
            }
            Some(Constraint::Lark(source)) => {
                check_source("grammar", source)?;
                Ok(self.source(GrammarWithLexer::from_lark(source.clone())))
            }
        }
    }

    fn source(&mut self, grammar: GrammarWithLexer) -> String {
        self.parts.push(GrammarWithLexer { name: Some("answer".to_owned()), ..grammar });
        "@answer".to_owned()
    }

    /// A turn with at least one call, and the text before it where that is free.
    fn calls(
        &mut self,
        form: &AnswerForm<'_>,
        tools: &[ToolSchema],
        vocabulary: &Vocabulary,
    ) -> Result<String> {
        let free = *form.choice == ToolChoice::Auto && form.answer.is_none();
        match form.dialect {
            Dialect::LlamaJson => self.llama_calls(form, tools, vocabulary, free),
            Dialect::Pythonic => self.python_calls(form, tools, vocabulary, free),
            Dialect::Hermes => {
                self.json_calls(tools)?;
                let (open, close) = (token(vocabulary, "<tool_call>"), token(vocabulary, "</tool_call>"));
                self.rule("tagged", &format!("\"\\n\" call \"\\n\" {close}"));
                let before = self.before(&open, "<tool_call>", free);
                let more = if form.parallel { format!("(\"\\n\" {open} tagged)*") } else { String::new() };
                Ok(format!("{before} tagged {more}"))
            }
            Dialect::Mistral => {
                self.json_calls(tools)?;
                let open = token(vocabulary, "[TOOL_CALLS]");
                let before = self.before(&open, "[TOOL_CALLS]", free);
                let more = if form.parallel { "(\", \" call)*" } else { "" };
                Ok(format!("{before} \"[\" call {more} \"]\""))
            }
        }
    }

    /// What begins the calls, with free text before it.
    fn before(&mut self, open: &str, name: &str, free: bool) -> String {
        match (free, open.starts_with('<')) {
            (false, _) => open.to_owned(),
            // Special: no text holds it.
            (true, true) => format!("TEXT? {open}"),
            (true, false) => {
                self.rule("before[lazy]", &format!("{ANY} {}", literal(name)));
                "before".to_owned()
            }
        }
    }

    /// The rule `call`, of a call as JSON.
    fn json_calls(&mut self, tools: &[ToolSchema]) -> Result<()> {
        let mut calls = Vec::new();
        for tool in tools {
            let prepared = self.prepare(&tool.name, &parameters(tool))?;
            let arguments = self.json(prepared);
            calls.push(format!("{} {arguments} \"}}\"", literal(&opening(&tool.name, "arguments"))));
        }
        self.rule("call", &calls.join(" | "));
        Ok(())
    }

    /// Calls as Python writes them.
    fn python_calls(
        &mut self,
        form: &AnswerForm<'_>,
        tools: &[ToolSchema],
        vocabulary: &Vocabulary,
        free: bool,
    ) -> Result<String> {
        let (mut first, mut next, mut behind) = (Vec::new(), Vec::new(), Vec::new());
        for (index, tool) in tools.iter().enumerate() {
            let prepared = self.prepare(&tool.name, &parameters(tool))?;
            let arguments = python::arguments(self, &tool.name, &prepared)?;
            // The bracket belongs to the first call's name: by itself it may begin a text.
            let open = literal(&format!("[{}(", tool.name));
            if free {
                self.rule(&format!("before_{index}[lazy]"), &format!("{} {open}", lines(form)));
                behind.push(format!("before_{index} {arguments} \")\""));
            }
            first.push(format!("{open} {arguments} \")\""));
            next.push(format!("{} {arguments} \")\"", literal(&format!("{}(", tool.name))));
        }
        self.rule("first", &first.join(" | "));
        self.rule("call", &next.join(" | "));
        let optional = |name: &str| vocabulary.special(name).map(|token| format!("<[{token}]>"));
        let (start, end) = (optional(PYTHON_START), optional(PYTHON_END));
        let mut openings = if free { behind } else { vec!["first".to_owned()] };
        openings.extend(start.map(|start| format!("{start} first")));
        self.rule("opened", &openings.join(" | "));
        let more = if form.parallel { "(\", \" call)*" } else { "" };
        let end = end.map(|end| format!("{end}?")).unwrap_or_default();
        Ok(format!("opened {more} \"]\" {end}"))
    }

    /// Calls of Llama 3: JSON with nothing around it, so that a text or an answer may begin alike.
    fn llama_calls(
        &mut self,
        form: &AnswerForm<'_>,
        tools: &[ToolSchema],
        vocabulary: &Vocabulary,
        free: bool,
    ) -> Result<String> {
        let tag = vocabulary.special(PYTHON_TAG).map(|token| format!("<[{token}]>"));
        let (mut calls, mut behind) = (Vec::new(), Vec::new());
        for (index, tool) in tools.iter().enumerate() {
            let prepared = self.prepare(&tool.name, &parameters(tool))?;
            let arguments = self.json(prepared);
            let open = literal(&opening(&tool.name, "parameters"));
            if free {
                // At the start of the text, or of a line.
                self.rule(&format!("before_{index}[lazy]"), &format!("{} {open}", lines(form)));
                behind.push(format!("before_{index} {arguments} \"}}\""));
            }
            let open = match form.answer {
                None => open,
                // The answer may be JSON too: cut like it.
                Some(_) => format!(
                    "\"{{\" \"\\\"name\\\"\" \": \" {} \", \" \"\\\"parameters\\\"\" \": \"",
                    literal(&json!(tool.name).to_string())
                ),
            };
            calls.push(format!("{open} {arguments} \"}}\""));
        }
        self.rule("call", &calls.join(" | "));
        let tagged = tag.map(|tag| format!("{tag} call"));
        let first = match (free, tagged) {
            (true, Some(tagged)) => format!("{} | {tagged}", behind.join(" | ")),
            (true, None) => behind.join(" | "),
            (false, Some(tagged)) => format!("call | {tagged}"),
            (false, None) => "call".to_owned(),
        };
        self.rule("first", &first);
        Ok(if form.parallel { "first (\"; \" call)*" } else { "first" }.to_owned())
    }
}

/// A call's beginning, up to its arguments.
fn opening(name: &str, key: &str) -> String {
    format!("{{\"name\": {}, \"{key}\": ", json!(name))
}

/// The schema of a tool's arguments, which are an object.
fn parameters(tool: &ToolSchema) -> Value {
    match &tool.parameters {
        Value::Object(map) if map.contains_key("$ref") => tool.parameters.clone(),
        Value::Object(map) => {
            let mut object = Map::from_iter([("type".to_owned(), json!("object"))]);
            object.extend(map.clone());
            object.entry("properties").or_insert_with(|| json!({}));
            Value::Object(object)
        }
        _ => json!({ "type": "object", "properties": {} }),
    }
}

/// Text that begins no call, as a regular expression; a model that may not call says no call either.
fn text(form: &AnswerForm<'_>) -> String {
    if form.tools.is_empty() {
        return "/(?s:.+)/".to_owned();
    }
    format!("/(?s:.+)/ & ~({})", with_calls(form))
}

/// What stands before a call within free text that begins no other: nothing, or lines.
fn lines(form: &AnswerForm<'_>) -> String {
    format!("({LINES} & ~({}))", with_calls(form))
}

/// Text in which a call begins, whether it is one of a tool or not.
fn with_calls(form: &AnswerForm<'_>) -> String {
    // What is a call wherever it stands, and what is one where a line begins.
    let (anywhere, in_line) = match form.dialect {
        Dialect::LlamaJson => {
            let names: Vec<_> =
                form.tools.iter().map(|tool| literal(&json!(tool.name).to_string())).collect();
            // An object of another name may be shown in a text. Calls in other forms are read as well.
            let keys = r#"/"(type"\s*:\s*"function"|(function|parameters|arguments)"\s*:)/"#;
            let call = format!("\"{{\" {BLANKS} ({keys} | /\"name\"\\s*:\\s*/ ({}))", names.join(" | "));
            (vec![PYTHON_TAG, PYTHON_START, PYTHON_END], Some(call))
        }
        Dialect::Pythonic => {
            (vec![PYTHON_TAG, PYTHON_START, PYTHON_END], Some(r"/\[\s*[\w.\-]+\(/".to_owned()))
        }
        Dialect::Hermes => (vec!["<tool_call>"], None),
        Dialect::Mistral => (vec!["[TOOL_CALLS]"], None),
    };
    let mut calls: Vec<_> =
        anywhere.into_iter().map(|mark| format!("{ANY} {} {ANY}", literal(mark))).collect();
    calls.extend(in_line.map(|call| format!("{LINES} {BLANKS} {call} {ANY}")));
    if form.dialect == Dialect::LlamaJson {
        // At the start of a text, an object of any name.
        calls.push(format!("/\\s*\\{{\\s*\"name\"/ {ANY}"));
    }
    calls.join(" | ")
}

/// A token that a dialect has: special where the vocabulary has it so, else as text.
fn token(vocabulary: &Vocabulary, name: &str) -> String {
    match vocabulary.special(name) {
        Some(token) => format!("<[{token}]>"),
        None => literal(name),
    }
}

/// A text as a Lark string.
pub(super) fn literal(text: &str) -> String {
    json!(text).to_string().replace('\u{7f}', "\\u007f")
}
