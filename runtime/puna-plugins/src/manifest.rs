use std::collections::{BTreeMap, BTreeSet};

use puna_core::{Error, Result, ToolSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Grant, contract, guest::scrub, schema};

/// The custom section of a component that holds its manifest, as JSON.
pub const MANIFEST_SECTION: &str = "puna:manifest";

/// Largest manifest, as JSON.
pub const MAX_MANIFEST_BYTES: usize = 256 << 10;

/// Most tools in a plugin: a model cannot choose among more.
pub const MAX_TOOLS: usize = 64;

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
    pub asks: BTreeMap<Grant, String>,
    /// Its tools, with the JSON Schemas of their arguments and results.
    pub tools: Vec<ToolSchema>,
    /// SHA-256 of the source it was built from, in hexadecimal, where the build recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
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
        for (grant, reason) in &self.asks {
            check_text(&format!("reason for `{grant}`"), reason, MAX_DESCRIPTION_BYTES)?;
        }
        if self.tools.is_empty() || self.tools.len() > MAX_TOOLS {
            return wrong(format!("a plugin has 1 to {MAX_TOOLS} tools; this one has {}", self.tools.len()));
        }
        let mut names = BTreeSet::new();
        for tool in &self.tools {
            if !is_tool_name(&tool.name) {
                return wrong(format!(
                    "`{}` is no name for a tool; use letters, digits, `_` and `-`, at most {MAX_NAME_BYTES}",
                    scrub(&tool.name, MAX_NAME_BYTES)
                ));
            }
            if !names.insert(&tool.name) {
                return wrong(format!("two tools have the name `{}`", tool.name));
            }
            check_text(&format!("description of `{}`", tool.name), &tool.description, MAX_DESCRIPTION_BYTES)?;
            let of = |what| move |error: Error| error.context(format!("{what} of tool `{}`", tool.name));
            schema::compile(&tool.parameters).map_err(of("parameters"))?;
            if tool.parameters.get("type").and_then(Value::as_str) != Some("object") {
                return wrong(format!("parameters of tool `{}`: the type must be `object`", tool.name));
            }
            if let Some(output) = &tool.output {
                schema::compile(output).map_err(of("output"))?;
            }
        }
        Ok(())
    }
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
