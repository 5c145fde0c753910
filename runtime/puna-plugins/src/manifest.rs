use std::collections::{BTreeMap, BTreeSet};

use puna_core::{Error, Result, ToolSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Grant, LoaderManifest, RetrieverManifest, contract, guest::scrub, schema};

/// The custom section of a component that holds its manifest, as JSON.
pub const MANIFEST_SECTION: &str = "puna:manifest";

/// Largest manifest, as JSON.
pub const MAX_MANIFEST_BYTES: usize = 256 << 10;

/// Most tools in a plugin: a model cannot choose among more. Also the most loaders, and the most retrievers.
pub const MAX_TOOLS: usize = 64;

/// Most media types or extensions of a loader, and most wants of a grant.
const MAX_NAMES: usize = 32;

/// Longest name of a plugin or tool, as model APIs have it.
const MAX_NAME_BYTES: usize = 64;

/// Longest description of a plugin or tool, and longest reason for a grant.
const MAX_DESCRIPTION_BYTES: usize = 1024;

/// What a component says about itself; read without running it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The plugin's name: lower-case letters, digits and `-`.
    pub name: String,
    /// The plugin's version.
    pub version: String,
    /// The version of the contract it speaks.
    pub contract: String,
    /// What it is for, in a sentence.
    pub description: String,
    /// The grants it wants, each with the reason, for whoever gives them.
    #[serde(default)]
    pub asks: BTreeMap<Grant, Ask>,
    /// JSON Schema of its configuration, where it takes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<Value>,
    /// Its tools, with the JSON Schemas of their arguments and results.
    #[serde(default)]
    pub tools: Vec<ToolSchema>,
    /// Its loaders, with the JSON Schemas of their options.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loaders: Vec<LoaderManifest>,
    /// Its retrievers, with the JSON Schemas of their options.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retrievers: Vec<RetrieverManifest>,
    /// SHA-256 of the source it was built from, in hexadecimal, where the build recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// What a plugin asks for, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "AskForm", into = "AskForm")]
pub struct Ask {
    /// Why, in a sentence for whoever gives it.
    pub reason: String,
    /// What exactly: the origins of `http`, the names of `secrets`, `files` and `sql`. Empty where the user chooses.
    pub wants: Vec<String>,
}

/// How an [`Ask`] is written: mostly the reason alone.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum AskForm {
    Reason(String),
    Detailed {
        reason: String,
        #[serde(default)]
        wants: Vec<String>,
    },
}

impl From<AskForm> for Ask {
    fn from(form: AskForm) -> Self {
        match form {
            AskForm::Reason(reason) => Self { reason, wants: Vec::new() },
            AskForm::Detailed { reason, wants } => Self { reason, wants },
        }
    }
}

impl From<Ask> for AskForm {
    fn from(ask: Ask) -> Self {
        if ask.wants.is_empty() {
            Self::Reason(ask.reason)
        } else {
            Self::Detailed { reason: ask.reason, wants: ask.wants }
        }
    }
}

impl Manifest {
    /// Reads a manifest that a stranger wrote.
    ///
    /// # Errors
    /// Invalid input for anything but a sound manifest of a contract that this host speaks.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        if json.len() > MAX_MANIFEST_BYTES {
            return Err(Error::invalid_input(format!(
                "the manifest takes {} bytes of {MAX_MANIFEST_BYTES}",
                json.len()
            )));
        }
        let not_one = |error: serde_json::Error| {
            Error::invalid_input(format!("the manifest: {}", scrub(&error.to_string(), 300)))
        };
        let value: Value = serde_json::from_slice(json).map_err(not_one)?;
        // Before the rest: a manifest of another contract may have another shape.
        if let Some(version) = value.get("contract").and_then(Value::as_str) {
            contract::check_version(version)?;
        }
        let manifest: Self = serde_json::from_value(value).map_err(not_one)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// # Errors
    /// Invalid input that names the part that is not sound.
    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::invalid_input(what));
        contract::check_version(&self.contract)?;
        if !is_plugin_name(&self.name) {
            return wrong(format!(
                "`{}` is no name for a plugin; use lower-case letters, digits and `-`, at most {MAX_NAME_BYTES}",
                scrub(&self.name, MAX_NAME_BYTES)
            ));
        }
        check_text("version", &self.version, MAX_NAME_BYTES)?;
        check_text("description", &self.description, MAX_DESCRIPTION_BYTES)?;
        for (grant, ask) in &self.asks {
            check_text(&format!("reason for `{grant}`"), &ask.reason, MAX_DESCRIPTION_BYTES)?;
            check_names(&format!("wants of `{grant}`"), &ask.wants)?;
        }
        if let Some(configuration) = &self.configuration {
            schema::compile(configuration).map_err(|error| error.context("configuration"))?;
        }
        if self.tools.is_empty() && self.loaders.is_empty() && self.retrievers.is_empty() {
            return Err(Error::invalid_input("a plugin has tools, loaders or retrievers; this one has none"));
        }
        check_parts("tool", self.tools.iter().map(|tool| (&tool.name, &tool.description)))?;
        for tool in &self.tools {
            check_options("parameters", "tool", &tool.name, &tool.parameters)?;
            if let Some(output) = &tool.output {
                schema::compile(output)
                    .map_err(|error| error.context(format!("output of tool `{}`", tool.name)))?;
            }
        }
        check_parts("loader", self.loaders.iter().map(|loader| (&loader.name, &loader.description)))?;
        for loader in &self.loaders {
            check_options("options", "loader", &loader.name, &loader.options)?;
            check_names(&format!("media types of `{}`", loader.name), &loader.media_types)?;
            check_names(&format!("extensions of `{}`", loader.name), &loader.extensions)?;
        }
        check_parts("retriever", self.retrievers.iter().map(|found| (&found.name, &found.description)))?;
        for retriever in &self.retrievers {
            check_options("options", "retriever", &retriever.name, &retriever.options)?;
        }
        Ok(())
    }
}

/// Names and descriptions of a plugin's tools, loaders or retrievers.
fn check_parts<'a>(kind: &str, parts: impl ExactSizeIterator<Item = (&'a String, &'a String)>) -> Result<()> {
    let wrong = |what: String| Err(Error::invalid_input(what));
    if parts.len() > MAX_TOOLS {
        return wrong(format!("a plugin has at most {MAX_TOOLS} {kind}s; this one has {}", parts.len()));
    }
    let mut names = BTreeSet::new();
    for (name, description) in parts {
        if !is_tool_name(name) {
            return wrong(format!(
                "`{}` is no name for a {kind}; use letters, digits, `_` and `-`, at most {MAX_NAME_BYTES}",
                scrub(name, MAX_NAME_BYTES)
            ));
        }
        if !names.insert(name) {
            return wrong(format!("two {kind}s have the name `{name}`"));
        }
        check_text(&format!("description of `{name}`"), description, MAX_DESCRIPTION_BYTES)?;
    }
    Ok(())
}

/// A schema of what a part takes.
fn check_options(what: &str, kind: &str, name: &str, schema: &Value) -> Result<()> {
    schema::compile(schema).map_err(|error| error.context(format!("{what} of {kind} `{name}`")))?;
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        return Err(Error::invalid_input(format!("{what} of {kind} `{name}`: the type must be `object`")));
    }
    Ok(())
}

fn check_names(what: &str, names: &[String]) -> Result<()> {
    if names.len() > MAX_NAMES {
        return Err(Error::invalid_input(format!("the {what} are {}; the most is {MAX_NAMES}", names.len())));
    }
    names.iter().try_for_each(|name| check_text(what, name, MAX_NAME_BYTES * 4))
}

/// Adds the manifest to a component as its last custom section.
///
/// # Errors
/// Invalid input when the manifest is not sound.
pub fn embed_manifest(component: &mut Vec<u8>, manifest: &Manifest) -> Result<()> {
    manifest.check()?;
    let json =
        serde_json::to_vec(manifest).map_err(|error| Error::internal(format!("the manifest: {error}")))?;
    if json.len() > MAX_MANIFEST_BYTES {
        return Err(Error::invalid_input(format!(
            "the manifest takes {} bytes of {MAX_MANIFEST_BYTES}",
            json.len()
        )));
    }
    append_section(component, MANIFEST_SECTION, &json);
    Ok(())
}

fn append_section(component: &mut Vec<u8>, name: &str, data: &[u8]) {
    use wasm_encoder::ComponentSection as _;
    wasm_encoder::CustomSection { name: name.into(), data: data.into() }.append_to_component(component);
}

fn is_plugin_name(name: &str) -> bool {
    name.len() <= MAX_NAME_BYTES
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn is_tool_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// One line of printable text: a model and a terminal both read it.
fn check_text(what: &str, text: &str, max: usize) -> Result<()> {
    if text.is_empty() || text.len() > max {
        return Err(Error::invalid_input(format!(
            "the {what} takes 1 to {max} bytes; this one has {}",
            text.len()
        )));
    }
    if scrub(text, max) != text || text.contains('\n') {
        return Err(Error::invalid_input(format!("the {what} holds control characters")));
    }
    Ok(())
}
