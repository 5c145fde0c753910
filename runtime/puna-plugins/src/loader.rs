use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream::BoxStream};
use jsonschema::Validator;
use puna_core::{Document, Error, Loader, Result, ToolErrorKind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use wasmtime::component::ResourceAny;

use crate::{
    contract::bindings::exports::puna::plugin::loaders::{self, Source},
    guest::{Blob, BlobSource},
    instance::Instance,
    plugin::Ready,
    schema,
};

/// Documents of one page: enough to keep whoever takes them busy, few enough to be held.
const PAGE_DOCUMENTS: u32 = 100;

/// Bytes after which a page ends.
const PAGE_BYTES: u64 = 1 << 20;

/// How a loader presents itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoaderManifest {
    /// The name: letters, digits, `_` and `-`.
    pub name: String,
    /// What it reads, in a sentence.
    pub description: String,
    /// The media types it reads, for example `text/csv`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub media_types: Vec<String>,
    /// The endings of names that it reads, without the dot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
    /// JSON Schema of the options, of type `object`.
    pub options: Value,
}

/// What to load.
#[derive(Clone, Debug)]
pub struct LoaderSource {
    /// The path or address, as the user gave it.
    pub uri: String,
    /// What it is said to be.
    pub media_type: Option<String>,
    /// The bytes behind it, which the guest reads in pieces; none where the guest fetches them, by its own grants.
    pub content: Option<BlobSource>,
}

impl LoaderSource {
    /// A file.
    ///
    /// # Errors
    /// Those of [`BlobSource::open`].
    pub fn file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Ok(Self { uri: path.display().to_string(), media_type: None, content: Some(BlobSource::open(path)?) })
    }
}

/// Some documents of a source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadedPage {
    /// The documents, in the source's order.
    pub documents: Vec<Document>,
    /// Where [`PluginLoader::open`] goes on after this page; none at the end.
    pub resume: Option<String>,
}

/// A loader of a plugin. Cheap to clone.
#[derive(Clone)]
pub struct PluginLoader(Arc<Inner>);

struct Inner {
    ready: Arc<Ready>,
    manifest: LoaderManifest,
    options: Validator,
}

/// An open source: the guest's instance waits between pages.
pub struct PluginCursor {
    loader: PluginLoader,
    /// None after the end or an error.
    open: Option<(Instance, ResourceAny)>,
}

impl PluginLoader {
    pub(crate) fn new(ready: Arc<Ready>, manifest: &LoaderManifest) -> Result<Self> {
        let options = schema::compile(&manifest.options)?;
        Ok(Self(Arc::new(Inner { ready, manifest: manifest.clone(), options })))
    }

    /// How the loader presents itself.
    pub fn manifest(&self) -> &LoaderManifest {
        &self.0.manifest
    }

    /// Opens a source, from its beginning or from where a page before ended.
    ///
    /// # Errors
    /// Invalid input for options that do not satisfy the schema, and whatever the guest says.
    pub async fn open(
        &self,
        source: LoaderSource,
        options: &Value,
        resume: Option<&str>,
    ) -> Result<PluginCursor> {
        let inner = &*self.0;
        let empty = Value::Object(Map::new());
        let options = if options.is_null() { &empty } else { options };
        schema::check(&inner.options, options, ToolErrorKind::InvalidInput).map_err(|error| {
            Error::from(error).context(format!("options of loader `{}`", inner.manifest.name))
        })?;
        let (options, name) = (options.to_string(), &*inner.manifest.name);
        let indices = inner.indices()?;
        let begun = inner.ready.begin(name, |mut running: Instance| async move {
            let answer = async {
                let guest = indices.load(&mut running.store, &running.instance)?;
                let LoaderSource { uri, media_type, content } = source;
                let content = match content {
                    Some(content) => Some(running.store.data_mut().resources.push(Blob(content))?),
                    None => None,
                };
                let source = Source { uri, media_type, content };
                guest.call_open(&mut running.store, name, &source, &options, resume).await
            };
            let answer = answer.await;
            (running, answer)
        });
        let (instance, cursor) = begun.await?;
        Ok(PluginCursor { loader: self.clone(), open: Some((instance, cursor)) })
    }
}

impl Inner {
    fn indices(&self) -> Result<&loaders::GuestIndices> {
        self.ready.loaded.loaders.as_ref().ok_or_else(|| Error::internal("the plugin has no loaders"))
    }
}

impl PluginCursor {
    /// The next documents; none at the end.
    ///
    /// # Errors
    /// Whatever the guest says or breaks, also when it goes over its limits; the cursor has ended then.
    pub async fn next(&mut self) -> Result<Option<LoadedPage>> {
        let Some((instance, cursor)) = self.open.take() else { return Ok(None) };
        let inner = &*self.loader.0;
        let indices = inner.indices()?;
        let step = inner.ready.go_on(&inner.manifest.name, instance, |mut running: Instance| async move {
            let answer = match indices.load(&mut running.store, &running.instance) {
                Ok(guest) => {
                    guest.cursor().call_next(&mut running.store, cursor, PAGE_DOCUMENTS, PAGE_BYTES).await
                }
                Err(error) => Err(error),
            };
            (running, answer)
        });
        let (instance, page) = step.await?;
        let limit = inner.ready.prepared.limits.result_bytes;
        let bytes: usize =
            page.documents.iter().map(|document| document.text.len() + document.metadata.len()).sum();
        if bytes > limit {
            return Err(Error::new(
                puna_core::ErrorKind::ResourceExhausted,
                format!(
                    "a page of loader `{}` takes {bytes} bytes; the most is {limit}",
                    inner.manifest.name
                ),
            ));
        }
        if page.documents.is_empty() && page.resume.is_some() {
            // Else it could keep us asking for ever.
            return Err(Error::invalid_input(format!(
                "loader `{}` gave a page without documents that is not the last",
                inner.manifest.name
            )));
        }
        if page.resume.is_some() {
            self.open = Some((instance, cursor));
        }
        let documents = page.documents.into_iter().map(|document| {
            Ok(Document { metadata: object(&document.metadata)?, id: document.id, text: document.text })
        });
        let documents = documents
            .collect::<Result<Vec<_>>>()
            .map_err(|error| error.context(format!("loader `{}`", inner.manifest.name)))?;
        Ok(Some(LoadedPage { documents, resume: page.resume }))
    }
}

/// Metadata of a guest.
///
/// # Errors
/// Invalid input for what is no JSON object.
pub(crate) fn object(text: &str) -> Result<Map<String, Value>> {
    serde_json::from_str(if text.is_empty() { "{}" } else { text })
        .map_err(|error| Error::invalid_input(format!("metadata that is no JSON object: {error}")))
}

#[async_trait]
impl Loader for PluginLoader {
    /// `source` is a path, whose bytes the guest is lent, or an address that the guest fetches by its own grants.
    async fn load(&self, source: &str, options: &Value) -> Result<BoxStream<'static, Result<Document>>> {
        let source = if source.contains("://") {
            LoaderSource { uri: source.to_owned(), media_type: None, content: None }
        } else {
            LoaderSource::file(PathBuf::from(source))?
        };
        let cursor = self.open(source, options, None).await?;
        let pages = futures_util::stream::try_unfold(cursor, |mut cursor| async move {
            let page = cursor.next().await?;
            Ok::<_, Error>(
                page.map(|page| (futures_util::stream::iter(page.documents.into_iter().map(Ok)), cursor)),
            )
        });
        Ok(Box::pin(futures_util::TryStreamExt::try_flatten(pages).boxed()))
    }
}
