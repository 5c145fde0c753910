//! `plugin.toml`, the file that a plugin's author writes.

use std::{
    collections::BTreeMap,
    fs,
    path::{Component, Path, PathBuf},
};

use puna_core::{Error, Result, ToolSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{files, rust};
use crate::{Ask, Grant, LoaderManifest, Manifest, RetrieverManifest, manifest::MAX_MANIFEST_BYTES};

/// Its name.
pub const PLUGIN_FILE: &str = "plugin.toml";

/// Folders of source beside a `plugin.toml` whose language is not Rust.
const SOURCE_FOLDERS: [&str; 2] = ["src", "sdk"];

/// Files that say what such a source is built with.
const PACKAGE_FILES: [&str; 3] = ["requirements.txt", "package.json", "package-lock.json"];

/// What a plugin is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// A crate, compiled by Cargo; what the plugin has comes from the code.
    #[default]
    Rust,
    /// `src/plugin.py`, with the interpreter in the component.
    Python,
    /// `src/plugin.js`, with the interpreter in the component.
    JavaScript,
    /// `src/*.c`, compiled by clang.
    C,
}

/// What the author writes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authored {
    pub name: String,
    pub version: String,
    pub contract: String,
    pub description: String,
    #[serde(default)]
    pub language: Language,
    #[serde(default)]
    pub asks: BTreeMap<Grant, Ask>,
    configuration: Option<Schema>,
    #[serde(default)]
    tools: Vec<Tool>,
    #[serde(default)]
    loaders: Vec<Loader>,
    #[serde(default)]
    retrievers: Vec<Retriever>,
}

/// A JSON Schema: a file beside `plugin.toml`, or the schema itself.
#[derive(Deserialize)]
#[serde(untagged)]
enum Schema {
    File(PathBuf),
    Inline(serde_json::Map<String, Value>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tool {
    name: String,
    description: String,
    parameters: Schema,
    output: Option<Schema>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Loader {
    name: String,
    description: String,
    #[serde(default)]
    media_types: Vec<String>,
    #[serde(default)]
    extensions: Vec<String>,
    options: Schema,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Retriever {
    name: String,
    description: String,
    options: Schema,
}

/// What a plugin has.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parts {
    pub configuration: Option<Value>,
    pub tools: Vec<ToolSchema>,
    pub loaders: Vec<LoaderManifest>,
    pub retrievers: Vec<RetrieverManifest>,
}

impl Authored {
    /// Reads a plugin's folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(PLUGIN_FILE);
        let text = fs::read_to_string(&path).map_err(|error| Error::from_io("read", &path, error))?;
        let authored: Self = toml::from_str(&text).map_err(|error| {
            Error::invalid_input(format!("`{}`: {}", path.display(), error.to_string().trim_end()))
        })?;
        let lists = [authored.tools.len(), authored.loaders.len(), authored.retrievers.len()];
        let stated = authored.configuration.is_some() || lists.iter().any(|length| *length > 0);
        if authored.language == Language::Rust && stated {
            return Err(Error::invalid_input(format!(
                "`{}` states what a plugin in Rust has; that comes from its code (`puna_plugin::tools!` and the like). \
                 For another language, set `language`",
                path.display()
            )));
        }
        Ok(authored)
    }

    /// What the plugin has, with its schemas read; empty in Rust, where the code tells.
    pub fn parts(&self, folder: &Path) -> Result<Parts> {
        let schema = |schema: &Schema| schema.read(folder);
        let tools = self.tools.iter().map(|tool| {
            Ok(ToolSchema {
                name: tool.name.clone(),
                description: tool.description.clone(),
                parameters: schema(&tool.parameters)?,
                output: tool.output.as_ref().map(schema).transpose()?,
            })
        });
        let loaders = self.loaders.iter().map(|loader| {
            Ok(LoaderManifest {
                name: loader.name.clone(),
                description: loader.description.clone(),
                media_types: loader.media_types.clone(),
                extensions: loader.extensions.clone(),
                options: schema(&loader.options)?,
            })
        });
        let retrievers = self.retrievers.iter().map(|retriever| {
            Ok(RetrieverManifest {
                name: retriever.name.clone(),
                description: retriever.description.clone(),
                options: schema(&retriever.options)?,
            })
        });
        Ok(Parts {
            configuration: self.configuration.as_ref().map(schema).transpose()?,
            tools: tools.collect::<Result<_>>()?,
            loaders: loaders.collect::<Result<_>>()?,
            retrievers: retrievers.collect::<Result<_>>()?,
        })
    }

    /// The manifest that a component carries.
    pub fn manifest(&self, parts: Parts, source: String) -> Manifest {
        Manifest {
            name: self.name.clone(),
            version: self.version.clone(),
            contract: self.contract.clone(),
            description: self.description.clone(),
            asks: self.asks.clone(),
            configuration: parts.configuration,
            tools: parts.tools,
            loaders: parts.loaders,
            retrievers: parts.retrievers,
            source: Some(source),
        }
    }

    /// The files of the plugin's own folder that count as its source, in order, from the folder.
    pub fn own_files(&self, folder: &Path) -> Result<Vec<String>> {
        if self.language == Language::Rust {
            return rust::own_files(folder);
        }
        let mut paths = vec![folder.join(PLUGIN_FILE)];
        paths.extend(self.schema_files().map(|file| folder.join(file)));
        paths.extend(PACKAGE_FILES.iter().map(|file| folder.join(file)).filter(|path| path.exists()));
        for source in SOURCE_FOLDERS.map(|source| folder.join(source)) {
            if source.exists() {
                paths.extend(files::files_below(&source)?);
            }
        }
        let mut files: Vec<String> = paths.iter().map(|path| files::relative(folder, path)).collect();
        files.sort();
        files.dedup();
        Ok(files)
    }

    fn schema_files(&self) -> impl Iterator<Item = &Path> {
        let tools = self.tools.iter().flat_map(|tool| [Some(&tool.parameters), tool.output.as_ref()]);
        let loaders = self.loaders.iter().map(|loader| Some(&loader.options));
        let retrievers = self.retrievers.iter().map(|retriever| Some(&retriever.options));
        let all = tools.chain(loaders).chain(retrievers).chain([self.configuration.as_ref()]);
        all.flatten().filter_map(|schema| match schema {
            Schema::File(path) => Some(path.as_path()),
            Schema::Inline(_) => None,
        })
    }
}

impl Schema {
    fn read(&self, folder: &Path) -> Result<Value> {
        let file = match self {
            Self::Inline(schema) => return Ok(Value::Object(schema.clone())),
            Self::File(file) => file,
        };
        let path = folder.join(file);
        let within = file.components().all(|part| matches!(part, Component::Normal(_)));
        if !within {
            return Err(Error::invalid_input(format!(
                "`{}` is no file within the plugin's folder",
                file.display()
            )));
        }
        let bytes = fs::read(&path).map_err(|error| Error::from_io("read", &path, error))?;
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(Error::invalid_input(format!(
                "`{}` takes {} bytes; a whole manifest has at most {MAX_MANIFEST_BYTES}",
                path.display(),
                bytes.len()
            )));
        }
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::invalid_input(format!("`{}` is no JSON: {error}", path.display())))
    }
}
