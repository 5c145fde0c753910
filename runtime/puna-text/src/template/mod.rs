mod budget;
mod filters;
mod guard;

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use minijinja::{
    AutoEscape, Environment, ErrorKind as TemplateErrorKind, Value as Jinja,
    machinery::{self, CodeGenerator, Instructions, Vm, WhitespaceConfig},
    syntax::SyntaxConfig,
};
use puna_core::{Content, Error, ErrorKind, Message, Result, Role, ToolOutcome, ToolSchema};
use serde::Serialize;
use serde_json::{Map, Value, json};

use self::budget::Budget;
use crate::{Dialect, Tokenizer, files, python_json::python_json};

/// Longest template taken: several times the longest known, and bounds how deep its parser goes.
const MAX_TEMPLATE_BYTES: usize = 128 << 10;

/// Stack for a template: its parser calls itself for every operator of a chain such as `a + a + …`, so that ten
/// thousand in a file would end the process on a usual thread; macros that call themselves take it too.
const STACK_BYTES: usize = 256 << 20;

/// Most instructions a template may run: a hundred messages with tools take some ten thousand.
const MAX_INSTRUCTIONS: u64 = 20_000_000;

/// Longest format of a time: one field of it may write any number of digits.
const MAX_TIME_FORMAT_BYTES: usize = 256;

/// The template's name in errors.
const NAME: &str = "chat";

/// Llama 2's form, for models that come without a template.
const LLAMA_2: &str = include_str!("llama2.jinja");

/// The sizes of Llama 2's vocabulary, with the tokens that Code Llama and fine-tunings add.
const LLAMA_2_TOKENS: std::ops::RangeInclusive<usize> = 32_000..=32_064;

/// Llama 3's form, for models that come without a template.
const LLAMA_3: &str = include_str!("llama3.jinja");

/// A model's chat template: turns a conversation into the text the model continues.
///
/// A template is a program of somebody else's: what it runs, makes and reads is bounded, whatever it is.
#[derive(Debug)]
pub struct ChatTemplate {
    source: String,
    bos: String,
    eos: String,
    special: Vec<String>,
    takes_tools: bool,
    dialect: Option<Dialect>,
}

/// What a template writes besides the conversation.
#[derive(Clone, Debug)]
pub struct RenderOptions<'a> {
    /// The tools the model may call.
    pub tools: &'a [ToolSchema],
    /// Texts to answer from, for templates that have a place for them.
    pub documents: &'a [TemplateDocument],
    /// Whether the prompt ends where the assistant begins to speak. On by default.
    pub add_generation_prompt: bool,
    /// The time that the template is told (`strftime_now`), in UTC; the clock's by default.
    pub now: Option<SystemTime>,
    /// Whatever else the template reads, by name: `date_string`, `enable_thinking` and the like.
    pub variables: Map<String, Value>,
}

/// A text to answer from, as templates of Hugging Face models read it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TemplateDocument {
    /// Its title.
    pub title: String,
    /// What it says.
    pub text: String,
}

impl Default for RenderOptions<'_> {
    fn default() -> Self {
        Self { tools: &[], documents: &[], add_generation_prompt: true, now: None, variables: Map::new() }
    }
}

/// A conversation as text. What was said in it cannot turn into special tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    text: String,
    /// Stands inside every special token's name that somebody said; the text is cut there before it is
    /// tokenised, so that no tokenizer finds the name.
    cut: Option<char>,
}

impl Prompt {
    /// Plain text in which special tokens' names are only text.
    pub(crate) fn of_text(text: &str, special: &[String]) -> Self {
        let cut = free_mark(&[text]);
        Self { text: defuse(text, special, cut), cut: Some(cut) }
    }

    /// The text.
    pub fn text(&self) -> String {
        self.pieces().collect()
    }

    /// The parts to tokenise one by one.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &str> {
        // Without a mark nothing is cut: a character that occurs nowhere.
        let cut = self.cut.unwrap_or(char::MAX);
        self.text.split(cut).filter(|piece| !piece.is_empty())
    }
}

impl ChatTemplate {
    /// The template of a model's folder: `chat_template.jinja`, else `chat_template` in
    /// `tokenizer_config.json`, else Llama 3's or Llama 2's form where the tokenizer has their tokens.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) when there is none; [`InvalidInput`](ErrorKind::InvalidInput) when it does
    /// not parse.
    pub fn from_folder(folder: &Path, tokenizer: &Tokenizer) -> Result<Self> {
        let config_path = folder.join("tokenizer_config.json");
        let config = files::read_json(&config_path)?.unwrap_or_default();
        let template = match files::read(&folder.join("chat_template.jinja"))? {
            Some(text) => text,
            None => match named_template(&config["chat_template"]) {
                Some(text) => text,
                None if tokenizer.token_to_id("<|start_header_id|>").is_some() => LLAMA_3.to_owned(),
                None if is_llama_2(tokenizer) => LLAMA_2.to_owned(),
                None => {
                    return Err(Error::new(
                        ErrorKind::NotFound,
                        format!(
                            "no chat template: `{}` has no `chat_template`, and there is no `chat_template.jinja` beside it",
                            config_path.display()
                        ),
                    ));
                }
            },
        };
        let known = |names: [&str; 2]| {
            names.into_iter().find(|name| tokenizer.token_to_id(name).is_some()).map(str::to_owned)
        };
        let bos = token_text(&config["bos_token"]).or_else(|| known(["<|begin_of_text|>", "<s>"]));
        let eos = token_text(&config["eos_token"]).or_else(|| known(["<|eot_id|>", "</s>"]));
        let dialect = Dialect::detect(&template, |token| tokenizer.token_to_id(token).is_some());
        let (bos, eos) = (bos.unwrap_or_default(), eos.unwrap_or_default());
        let template = Self::new(template, bos, eos, tokenizer.special_tokens().to_vec())?;
        Ok(Self { dialect, ..template })
    }

    /// A template from its text. `special` are the tokens that nothing said may become.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) when it does not parse or is too long.
    pub fn new(template: String, bos: String, eos: String, special: Vec<String>) -> Result<Self> {
        if template.len() > MAX_TEMPLATE_BYTES {
            return Err(Error::invalid_input(format!(
                "the chat template is longer than {MAX_TEMPLATE_BYTES} bytes; it has {}",
                template.len()
            )));
        }
        let source = without_generation_tags(&template);
        on_stack(|| program(&source).map(|_| ()).map_err(not_a_template))?;
        let takes_tools = template.contains("tools");
        let dialect = Dialect::detect(&template, |token| special.iter().any(|special| special == token));
        Ok(Self { source, bos, eos, special, takes_tools, dialect })
    }

    /// Whether the template has a place for tools.
    pub fn takes_tools(&self) -> bool {
        self.takes_tools
    }

    /// The form in which the model writes its tool calls, where the template or the vocabulary shows one.
    pub fn dialect(&self) -> Option<Dialect> {
        self.dialect
    }

    /// A conversation as a prompt.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) when a message holds what only other models take, or when the
    /// template refuses the conversation, fails, or takes more time or memory than templates may.
    pub fn render(&self, messages: &[Message], options: &RenderOptions<'_>) -> Result<Prompt> {
        let list = |values: Vec<Value>| if values.is_empty() { Value::Null } else { Value::Array(values) };
        let documents = options.documents.iter().map(|document| json!(document)).collect();
        let mut context = options.variables.clone();
        context.insert("tools".to_owned(), list(options.tools.iter().map(tool_to_template).collect()));
        context.insert("documents".to_owned(), list(documents));
        let said = messages.iter().map(to_template).collect::<Result<_>>()?;
        context.insert("messages".to_owned(), Value::Array(said));
        let mut context = Value::Object(context);
        let written = context.to_string();
        let cut = free_mark(&[&written]);
        defuse_all(&mut context, &self.special, cut);
        context["add_generation_prompt"] = json!(options.add_generation_prompt);
        context["bos_token"] = json!(self.bos);
        context["eos_token"] = json!(self.eos);
        let now = options.now.unwrap_or_else(SystemTime::now);
        let budget = Budget::new(messages.len(), written.len());
        let text = on_stack(|| run(&self.source, &context, now, &budget).map_err(template_error))?;
        Ok(Prompt { text, cut: Some(cut) })
    }
}

/// Runs on a stack that is large enough for whatever a template of the largest size makes of it. A panic is an error.
fn on_stack<T: Send>(run: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("puna-template".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, run)
            .map_err(|error| {
                Error::internal("cannot start a thread for the chat template").with_source(error)
            })?;
        thread
            .join()
            .unwrap_or_else(|_| Err(Error::invalid_input("the chat template breaks what runs templates")))
    })
}

/// What a template compiles to, with charges for what it makes and reads.
fn program(source: &str) -> Result<Instructions<'_>, minijinja::Error> {
    let whitespace =
        WhitespaceConfig { trim_blocks: true, lstrip_blocks: true, ..WhitespaceConfig::default() };
    let tree = guard::guard(&machinery::parse(source, NAME, SyntaxConfig, whitespace)?)?;
    let mut generator = CodeGenerator::new(NAME, source);
    generator.compile_stmt(&tree);
    Ok(generator.finish().0)
}

fn run(
    source: &str,
    context: &Value,
    now: SystemTime,
    budget: &Arc<Budget>,
) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(MAX_INSTRUCTIONS));
    filters::add(&mut environment, budget);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", move |format: &str| strftime(format, now));
    let program = program(source)?;
    let mut text = String::new();
    Vm::new(&environment).eval(
        &program,
        Jinja::from_serialize(context),
        &BTreeMap::new(),
        &mut machinery::make_string_output(&mut text),
        AutoEscape::None,
    )?;
    Ok(text)
}

fn not_a_template(error: minijinja::Error) -> Error {
    Error::invalid_input("the chat template does not parse").with_source(error)
}

fn template_error(error: minijinja::Error) -> Error {
    let message = match error.kind() {
        TemplateErrorKind::OutOfFuel => {
            format!("the chat template ran more than {MAX_INSTRUCTIONS} instructions")
        }
        _ => "the chat template refused the conversation".to_owned(),
    };
    Error::invalid_input(message).with_source(error)
}

/// The same without `{% generation %}` and `{% endgeneration %}`, with which transformers finds in a rendered text what
/// the assistant said: they write nothing.
fn without_generation_tags(template: &str) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, tag)) = rest.split_once("{%") {
        out.push_str(before);
        out.push_str("{%");
        rest = tag;
        let name = tag.trim_start_matches(['-', '+']).trim_start();
        for (known, becomes) in [("generation", "if true"), ("endgeneration", "endif")] {
            if let Some(end) = name.strip_prefix(known)
                && end.trim_start().trim_start_matches(['-', '+']).starts_with("%}")
            {
                out.push_str(&tag[..tag.len() - name.len()]);
                out.push_str(becomes);
                rest = end;
            }
        }
    }
    out.push_str(rest);
    out
}

// ------------------------------------------------------------------ messages as templates see them

/// A message in the form that templates of Hugging Face models read.
fn to_template(message: &Message) -> Result<Value> {
    let mut text = String::new();
    let mut calls = Vec::new();
    let mut out = Map::new();
    let role = match message.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    out.insert("role".to_owned(), json!(role));
    for part in &message.content {
        match part {
            Content::Text { text: said } => text.push_str(said),
            Content::ToolCall(call) => calls.push(json!({
                "type": "function",
                "id": call.id,
                "function": { "name": call.name, "arguments": call.arguments },
            })),
            Content::InvalidToolCall(call) => text.push_str(&call.text),
            Content::ToolResult(result) => {
                out.insert("name".to_owned(), json!(result.name));
                out.insert("tool_call_id".to_owned(), json!(result.call_id));
                text.push_str(&match &result.outcome {
                    ToolOutcome::Success { value } => python_json(value),
                    ToolOutcome::Failure { error } => python_json(&json!({ "error": error.message })),
                });
            }
            // A citation is for people: the text before it already says the thing.
            Content::Citation(_) => {}
            Content::Image(media) | Content::Audio(media) => {
                return Err(Error::invalid_input(format!(
                    "this model takes text only; got `{}`",
                    media.media_type
                )));
            }
            _ => {
                return Err(Error::invalid_input(
                    "this model takes text only; got a part of an unknown kind",
                ));
            }
        }
    }
    out.insert("content".to_owned(), Value::String(text));
    if !calls.is_empty() {
        out.insert("tool_calls".to_owned(), Value::Array(calls));
    }
    Ok(Value::Object(out))
}

fn tool_to_template(tool: &ToolSchema) -> Value {
    json!({
        "type": "function",
        "function": { "name": tool.name, "description": tool.description, "parameters": tool.parameters },
    })
}

/// Whether a tokenizer is Llama 2's: pieces of text with a token for each byte.
fn is_llama_2(tokenizer: &Tokenizer) -> bool {
    ["<s>", "</s>", "<0x0A>"].iter().all(|name| tokenizer.token_to_id(name).is_some())
        && LLAMA_2_TOKENS.contains(&tokenizer.vocabulary_size())
}

fn named_template(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        // Several: the one for tools knows plain conversations too.
        Value::Array(list) => {
            let find = |name: &str| list.iter().find(|entry| entry["name"] == name);
            Some(find("tool_use").or_else(|| find("default"))?["template"].as_str()?.to_owned())
        }
        _ => None,
    }
}

fn token_text(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned)
}

// ------------------------------------------------------------------ keeping what is said from being special

/// A private-use character that none of the texts holds.
fn free_mark(texts: &[&str]) -> char {
    let mut marks = '\u{F0000}'..='\u{FFFFD}';
    let said: HashSet<char> =
        texts.iter().flat_map(|text| text.chars()).filter(|c| marks.contains(c)).collect();
    marks.find(|mark| !said.contains(mark)).unwrap_or('\u{F0000}')
}

/// Puts the mark behind the first character of every special token's name.
fn defuse(text: &str, special: &[String], mark: char) -> String {
    let mut text = text.to_owned();
    for token in special.iter().filter(|token| token.chars().count() > 1) {
        if text.contains(token.as_str()) {
            let mut broken: String = token.chars().take(1).collect();
            broken.push(mark);
            broken.extend(token.chars().skip(1));
            text = text.replace(token.as_str(), &broken);
        }
    }
    text
}

fn defuse_all(value: &mut Value, special: &[String], mark: char) {
    match value {
        Value::String(text) => *text = defuse(text, special, mark),
        Value::Array(items) => items.iter_mut().for_each(|item| defuse_all(item, special, mark)),
        Value::Object(map) => {
            let old = std::mem::take(map);
            for (key, mut item) in old {
                defuse_all(&mut item, special, mark);
                map.insert(defuse(&key, special, mark), item);
            }
        }
        _ => {}
    }
}

// ------------------------------------------------------------------ what templates call

fn raise_exception(message: String) -> Result<Jinja, minijinja::Error> {
    Err(minijinja::Error::new(TemplateErrorKind::InvalidOperation, message))
}

fn strftime(format: &str, now: SystemTime) -> Result<String, minijinja::Error> {
    if format.len() > MAX_TIME_FORMAT_BYTES {
        let told = format!("a time's format has at most {MAX_TIME_FORMAT_BYTES} bytes");
        return Err(minijinja::Error::new(TemplateErrorKind::InvalidOperation, told));
    }
    let bad =
        |error: jiff::Error| minijinja::Error::new(TemplateErrorKind::InvalidOperation, error.to_string());
    let now = jiff::Timestamp::try_from(now).map_err(bad)?.to_zoned(jiff::tz::TimeZone::UTC);
    jiff::fmt::strtime::format(format, &now).map_err(bad)
}
