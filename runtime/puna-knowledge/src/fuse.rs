use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use futures_util::future;
use puna_core::{Error, Hit, HitPage, Reranker, Result, Retriever};
use serde::Deserialize;
use serde_json::Value;

use crate::search::{MAX_HITS, check_queries, fuse, rerank};

/// Several retrievers as one: what each finds is fused by its rank (reciprocal rank fusion), so that their scores need not
/// be alike. A passage that several find counts for each. A search's own options are `queries` alone, the same question in
/// other words, which every retriever is asked too.
#[derive(Clone)]
pub struct FusedRetriever {
    /// The retrievers, each with the options that it gets.
    pub retrievers: Vec<(Arc<dyn Retriever>, Value)>,
    /// Reads the best of what all found again.
    pub reranker: Option<Arc<dyn Reranker>>,
}

/// Hits taken of each retriever for each that is wanted: what two of them find in the midst comes to the front.
const DEPTH: usize = 3;

/// Fewest candidates for a reranker.
const RERANKED: usize = 50;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    queries: Vec<String>,
}

#[async_trait]
impl Retriever for FusedRetriever {
    async fn retrieve(&self, query: &str, k: usize, options: &Value, page: Option<&str>) -> Result<HitPage> {
        let skip: usize = match page {
            None => 0,
            Some(page) => page.parse().map_err(|_| {
                Error::invalid_input(format!("the page `{}` is none that was given", page.escape_debug()))
            })?,
        };
        let Options { queries } = match options {
            Value::Null => Options::default(),
            given => serde_json::from_value(given.clone()).map_err(|error| {
                Error::invalid_input("several retrievers are searched with no options but `queries`")
                    .with_source(error)
            })?,
        };
        let queries: Vec<&str> = std::iter::once(query).chain(queries.iter().map(String::as_str)).collect();
        check_queries(&queries)?;
        let end = skip.saturating_add(k);
        let least = if self.reranker.is_some() { RERANKED } else { 0 };
        let depth = end.saturating_add(1).saturating_mul(DEPTH).max(least).min(MAX_HITS - 1);
        let asked = self.retrievers.iter().flat_map(|(retriever, options)| {
            queries.iter().map(move |query| retriever.retrieve(query, depth, options, None))
        });
        let lists = future::try_join_all(asked).await?;
        let mut hits = fuse_hits(lists.into_iter().map(|page| page.hits));
        if let Some(reranker) = &self.reranker {
            hits.truncate(depth);
            rerank(&**reranker, query, &mut hits).await?;
        }
        let next = (hits.len() > end).then(|| end.to_string());
        hits.truncate(end);
        hits.drain(..skip.min(hits.len()));
        Ok(HitPage { hits, next })
    }
}

/// Lists of hits as one, by their ranks. Of a passage that several have the first stands for all.
fn fuse_hits(lists: impl Iterator<Item = Vec<Hit>>) -> Vec<Hit> {
    let mut numbers: HashMap<(String, Option<u64>, String), usize> = HashMap::new();
    let mut all: Vec<Hit> = Vec::new();
    let mut ranked = Vec::new();
    for hits in lists {
        let mut numbered = Vec::new();
        for hit in hits {
            let key = (hit.document.clone(), hit.span.map(|span| span.start), hit.text.clone());
            let number = *numbers.entry(key).or_insert_with(|| {
                all.push(hit);
                all.len() - 1
            });
            numbered.push(number);
        }
        ranked.push(numbered);
    }
    let fused = fuse(ranked.into_iter().map(Vec::into_iter));
    fused.into_iter().map(|(number, score)| Hit { score, ..all[number].clone() }).collect()
}
