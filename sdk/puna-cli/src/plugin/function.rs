//! A plugin's tool, loader or retriever, called with an object of JSON: by `puna plugin call` and by the cases of
//! `puna plugin test`.

use std::{path::Path, sync::Arc};

use puna::{
    Error, ErrorKind, Result, Retriever as _, Tool, ToolContext,
    plugins::{BlobSource, Limits, LoaderSource, Plugin, PluginLoader, PluginRetriever, ReadyPlugin},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// Hits that a retriever is asked for, where nothing else is said.
const HITS: usize = 10;

/// What can be called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Tool,
    Loader,
    Retriever,
}

impl Kind {
    /// What the plugin's function of this name is: a tool before a loader before a retriever.
    ///
    /// # Errors
    /// Not found, naming all functions there are.
    pub(super) fn of(plugin: &Plugin, component: &Path, name: &str) -> Result<Self> {
        let manifest = plugin.manifest();
        let tools = manifest.tools.iter().map(|tool| (Self::Tool, &tool.name));
        let loaders = manifest.loaders.iter().map(|loader| (Self::Loader, &loader.name));
        let retrievers = manifest.retrievers.iter().map(|retriever| (Self::Retriever, &retriever.name));
        let known: Vec<_> = tools.chain(loaders).chain(retrievers).collect();
        if let Some((kind, _)) = known.iter().find(|(_, known)| *known == name) {
            return Ok(*kind);
        }
        let known: Vec<String> = known
            .into_iter()
            .map(|(kind, name)| match kind {
                Self::Tool => name.clone(),
                Self::Loader => format!("{name} (loader)"),
                Self::Retriever => format!("{name} (retriever)"),
            })
            .collect();
        Err(Error::new(
            ErrorKind::NotFound,
            format!("plugin `{}` has no function `{name}`; it has {}", component.display(), known.join(", ")),
        ))
    }

    /// What such a call may use where nothing else is said.
    pub(super) fn limits(self) -> Limits {
        match self {
            Self::Loader => Limits::for_loaders(),
            Self::Tool | Self::Retriever => Limits::default(),
        }
    }
}

/// A function that is ready to be called.
pub(super) enum Function {
    Tool(Arc<dyn Tool>),
    Loader(PluginLoader),
    Retriever(PluginRetriever),
}

/// What a loader is called with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Load {
    /// The path or address that the loader is told; the file's without it.
    #[serde(default)]
    uri: Option<String>,
    /// A file whose bytes it is lent.
    #[serde(default)]
    file: Option<String>,
    /// Or the text that it is lent; with neither it fetches the address itself.
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    options: Value,
}

/// What a retriever is called with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Retrieve {
    query: String,
    #[serde(default = "hits")]
    k: usize,
    #[serde(default)]
    options: Value,
    /// Where a page before said that the next one begins.
    #[serde(default)]
    page: Option<String>,
}

fn hits() -> usize {
    HITS
}

impl Function {
    /// # Errors
    /// Not found, naming those of the kind that there are.
    pub(super) fn new(plugin: &ReadyPlugin, kind: Kind, name: &str) -> Result<Self> {
        match kind {
            Kind::Tool => plugin.tool(name).map(Self::Tool),
            Kind::Loader => plugin.loader(name).map(Self::Loader),
            Kind::Retriever => plugin.retriever(name).map(Self::Retriever),
        }
    }

    /// Calls it and hands on what it gives: the result of a tool, the documents of a loader one after the other, the
    /// page of a retriever. A loader's file is looked for in the folder.
    ///
    /// # Errors
    /// What the function says, and invalid input for what it cannot be called with.
    pub(super) async fn call(
        &self,
        input: Value,
        folder: &Path,
        context: &ToolContext,
        mut give: impl FnMut(Value) -> Result<()>,
    ) -> Result<()> {
        let input = if input.is_null() { Value::Object(Map::new()) } else { input };
        match self {
            Self::Tool(tool) => give(tool.call(input, context).await?),
            Self::Loader(loader) => {
                let load: Load =
                    taken(input, "a loader takes `file`, `text`, `uri`, `media_type` and `options`")?;
                let (source, options) = load.source(folder)?;
                let mut cursor = loader.open(source, &options, None).await?;
                while let Some(page) = cursor.next().await? {
                    page.documents.into_iter().try_for_each(|document| give(json_of(document)?))?;
                }
                Ok(())
            }
            Self::Retriever(retriever) => {
                let asked: Retrieve = taken(input, "a retriever takes `query`, `k`, `options` and `page`")?;
                let page =
                    retriever.retrieve(&asked.query, asked.k, &asked.options, asked.page.as_deref()).await?;
                give(json_of(page)?)
            }
        }
    }
}

impl Load {
    fn source(self, folder: &Path) -> Result<(LoaderSource, Value)> {
        let uri = self.uri.or_else(|| self.file.clone());
        let content = match (self.file, self.text) {
            (Some(file), None) => Some(BlobSource::open(folder.join(file))?),
            (None, Some(text)) => Some(BlobSource::bytes(text)),
            (None, None) => None,
            (Some(_), Some(_)) => {
                return Err(Error::invalid_input("a loader reads a `file` or a `text`, not both"));
            }
        };
        let uri = uri.ok_or_else(|| Error::invalid_input("a loader needs a `file`, or a `uri`"))?;
        Ok((LoaderSource { uri, media_type: self.media_type, content }, self.options))
    }
}

fn taken<T: DeserializeOwned>(input: Value, takes: &str) -> Result<T> {
    serde_json::from_value(input).map_err(|error| Error::invalid_input(format!("{takes}: {error}")))
}

fn json_of(value: impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(value)
        .map_err(|error| Error::internal("a result cannot be written as JSON").with_source(error))
}
