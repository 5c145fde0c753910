use std::sync::Arc;

use async_trait::async_trait;
use jsonschema::Validator;
use puna_core::{Error, Hit, HitPage, Result, Retriever, Span, ToolErrorKind, ToolReports};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    contract::bindings::exports::puna::plugin::retrievers, instance::Instance, loader::object, plugin::Ready,
    schema,
};

/// How a retriever presents itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetrieverManifest {
    /// The name: letters, digits, `_` and `-`.
    pub name: String,
    /// What it finds, in a sentence.
    pub description: String,
    /// JSON Schema of the options, of type `object`.
    pub options: Value,
}

/// A retriever of a plugin. Cheap to clone.
#[derive(Clone)]
pub struct PluginRetriever(Arc<Inner>);

struct Inner {
    ready: Arc<Ready>,
    manifest: RetrieverManifest,
    options: Validator,
}

impl PluginRetriever {
    pub(crate) fn new(ready: Arc<Ready>, manifest: &RetrieverManifest) -> Result<Self> {
        let options = schema::compile(&manifest.options)?;
        Ok(Self(Arc::new(Inner { ready, manifest: manifest.clone(), options })))
    }

    /// How the retriever presents itself.
    pub fn manifest(&self) -> &RetrieverManifest {
        &self.0.manifest
    }
}

#[async_trait]
impl Retriever for PluginRetriever {
    async fn retrieve(&self, query: &str, k: usize, options: &Value, page: Option<&str>) -> Result<HitPage> {
        let inner = &*self.0;
        let name = &*inner.manifest.name;
        let empty = Value::Object(Map::new());
        let options = if options.is_null() { &empty } else { options };
        schema::check(&inner.options, options, ToolErrorKind::InvalidInput)
            .map_err(|error| Error::from(error).context(format!("options of retriever `{name}`")))?;
        let limits = &inner.ready.prepared.limits;
        if query.len() > limits.argument_bytes {
            return Err(Error::invalid_input(format!(
                "the query takes {} bytes; the most is {}",
                query.len(),
                limits.argument_bytes
            )));
        }
        let options = options.to_string();
        let count = u32::try_from(k).unwrap_or(u32::MAX);
        let indices: &retrievers::GuestIndices = (inner.ready.loaded.retrievers.as_ref())
            .ok_or_else(|| Error::internal("the plugin has no retrievers"))?;
        let found = inner.ready.call(name, ToolReports::default(), |mut running: Instance| async move {
            let answer = match indices.load(&mut running.store, &running.instance) {
                Ok(guest) => {
                    guest.call_retrieve(&mut running.store, name, query, count, &options, page).await
                }
                Err(error) => Err(error),
            };
            (running, answer)
        });
        let found = found.await?;
        check_page(&found, k, name)?;
        let hits = found.hits.into_iter().map(|hit| {
            Ok(Hit {
                metadata: object(&hit.metadata)?,
                document: hit.document,
                text: hit.text,
                span: hit.span.map(|(start, end)| Span { start, end }),
                score: hit.score,
            })
        });
        let hits = hits.collect::<Result<Vec<_>>>();
        Ok(HitPage {
            hits: hits.map_err(|error| error.context(format!("retriever `{name}`")))?,
            next: found.next,
        })
    }
}

/// What a guest's hits must be, whatever they say.
fn check_page(page: &retrievers::Page, k: usize, name: &str) -> Result<()> {
    let wrong = |what: String| Err(Error::invalid_input(format!("retriever `{name}` gave {what}")));
    if page.hits.len() > k {
        return wrong(format!("{} hits, and {k} were asked for", page.hits.len()));
    }
    if let Some(hit) = page.hits.iter().find(|hit| !hit.score.is_finite()) {
        return wrong(format!("a hit with the score {}", hit.score));
    }
    if page.hits.iter().any(|hit| hit.span.is_some_and(|(start, end)| start > end)) {
        return wrong("a hit whose span ends before it starts".to_owned());
    }
    Ok(())
}
