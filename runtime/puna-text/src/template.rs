use std::{collections::HashSet, io, path::Path};

use minijinja::{Environment, ErrorKind as TemplateErrorKind, Value as Jinja, value::Kwargs};
use puna_core::{Content, Error, ErrorKind, Message, Result, Role, ToolOutcome, ToolSchema};
use serde_json::{Map, Value, json};

use crate::{
    Dialect, Tokenizer, files,
    python_json::{self, python_json},
};

/// Longest template taken: several times the longest known, and bounds how deep its parser goes.
const MAX_TEMPLATE_BYTES: usize = 128 << 10;

/// Stack to parse a template on: the parser calls itself for every operator of a chain such as `a + a + …`,
/// so that ten thousand in a file would end the process on a usual thread.
const PARSER_STACK_BYTES: usize = 256 << 20;

/// Most instructions a template may run: a hundred messages with tools take some ten thousand.
const MAX_INSTRUCTIONS: u64 = 20_000_000;

/// Longest prompt a template may write: far beyond any context.
const MAX_PROMPT_BYTES: usize = 64 << 20;

/// Llama 2's form, for models that come without a template.
const LLAMA_2: &str = include_str!("llama2.jinja");

/// The sizes of Llama 2's vocabulary, with the tokens that Code Llama and fine-tunings add.
const LLAMA_2_TOKENS: std::ops::RangeInclusive<usize> = 32_000..=32_064;

/// Llama 3's form, for models that come without a template.
const LLAMA_3: &str = include_str!("llama3.jinja");

/// A model's chat template: turns a conversation into the text the model continues.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
    special: Vec<String>,
    takes_tools: bool,
    dialect: Option<Dialect>,
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
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(MAX_INSTRUCTIONS));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        let takes_tools = template.contains("tools");
        let dialect = Dialect::detect(&template, |token| special.iter().any(|special| special == token));
        Ok(Self { environment: parse(environment, template)?, bos, eos, special, takes_tools, dialect })
    }

    /// Whether the template has a place for tools.
    pub fn takes_tools(&self) -> bool {
        self.takes_tools
    }

    /// The form in which the model writes its tool calls, where the template or the vocabulary shows one.
    pub fn dialect(&self) -> Option<Dialect> {
        self.dialect
    }

    /// A conversation as a prompt that ends where the assistant begins to speak.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) when a message holds what only other models take, or when the
    /// template refuses the conversation, fails, or writes without end.
    pub fn render(&self, messages: &[Message], tools: &[ToolSchema]) -> Result<Prompt> {
        let mut messages = Value::Array(messages.iter().map(to_template).collect::<Result<_>>()?);
        let mut tools = Value::Array(tools.iter().map(tool_to_template).collect());
        let cut = free_mark_in([&messages, &tools]);
        defuse_all(&mut messages, &self.special, cut);
        defuse_all(&mut tools, &self.special, cut);
        let has_tools = tools.as_array().is_some_and(|tools| !tools.is_empty());
        let context = minijinja::context! {
            messages => Jinja::from_serialize(&messages),
            tools => if has_tools { Jinja::from_serialize(&tools) } else { Jinja::from(()) },
            add_generation_prompt => true,
            bos_token => self.bos,
            eos_token => self.eos,
        };
        let mut out = Capped(Vec::new());
        self.environment
            .get_template("chat")
            .and_then(|template| template.render_captured_to(context, &mut out).map(|_| ()))
            .map_err(template_error)?;
        let text =
            String::from_utf8(out.0).map_err(|_| Error::internal("the chat template wrote invalid UTF-8"))?;
        Ok(Prompt { text, cut: Some(cut) })
    }
}

fn parse(mut environment: Environment<'static>, template: String) -> Result<Environment<'static>> {
    std::thread::Builder::new()
        .name("puna-template".to_owned())
        .stack_size(PARSER_STACK_BYTES)
        .spawn(move || environment.add_template_owned("chat", template).map(|()| environment))
        .map_err(|error| Error::internal("cannot start a thread for the chat template").with_source(error))?
        .join()
        .map_err(|_| Error::internal("the chat template's parser panicked"))?
        .map_err(|error| Error::invalid_input("the chat template does not parse").with_source(error))
}

fn template_error(error: minijinja::Error) -> Error {
    let message = match error.kind() {
        TemplateErrorKind::OutOfFuel => {
            format!("the chat template ran more than {MAX_INSTRUCTIONS} instructions")
        }
        TemplateErrorKind::WriteFailure => {
            format!("the chat template wrote more than {MAX_PROMPT_BYTES} bytes")
        }
        _ => "the chat template refused the conversation".to_owned(),
    };
    Error::invalid_input(message).with_source(error)
}

/// Output that stops a template which writes without end.
struct Capped(Vec<u8>);

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_PROMPT_BYTES {
            return Err(io::Error::other("too much output"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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

fn free_mark_in<'a>(values: impl IntoIterator<Item = &'a Value>) -> char {
    let texts: Vec<String> = values.into_iter().map(Value::to_string).collect();
    free_mark(&texts.iter().map(String::as_str).collect::<Vec<_>>())
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

fn to_json(value: &Jinja, kwargs: Kwargs) -> Result<Jinja, minijinja::Error> {
    let indent: Option<usize> = kwargs.get("indent")?;
    // Python's other options change nothing that models were trained on.
    let _: Option<Jinja> = kwargs.get("ensure_ascii")?;
    let _: Option<Jinja> = kwargs.get("sort_keys")?;
    let _: Option<Jinja> = kwargs.get("separators")?;
    kwargs.assert_all_used()?;
    let value = serde_json::to_value(value)
        .map_err(|error| minijinja::Error::new(TemplateErrorKind::BadSerialization, error.to_string()))?;
    let text = match indent {
        None => python_json(&value),
        Some(indent) => python_json::indented(&value, indent),
    };
    Ok(Jinja::from_safe_string(text))
}

fn raise_exception(message: String) -> Result<Jinja, minijinja::Error> {
    Err(minijinja::Error::new(TemplateErrorKind::InvalidOperation, message))
}

fn strftime_now(format: String) -> Result<String, minijinja::Error> {
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    jiff::fmt::strtime::format(&format, &now)
        .map_err(|error| minijinja::Error::new(TemplateErrorKind::InvalidOperation, error.to_string()))
}
