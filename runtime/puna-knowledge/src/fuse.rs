use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use futures_util::future;
use puna_core::{Error, Hit, HitPage, Result, Retriever};
use serde_json::Value;

use crate::search::{MAX_HITS, fuse};

/// Several retrievers as one: what each finds is fused by its rank (reciprocal rank fusion), so that their scores need not
/// be alike. A passage that several find counts for each.
#[derive(Clone)]
pub struct FusedRetriever {
    /// The retrievers, each with the options that it gets; a search's own options go to none.
    pub retrievers: Vec<(Arc<dyn Retriever>, Value)>,
}

/// Hits taken of each retriever for each that is wanted: what two of them find in the midst comes to the front.
const DEPTH: usize = 3;

#[async_trait]
impl Retriever for FusedRetriever {
    async fn retrieve(&self, query: &str, k: usize, _: &Value, page: Option<&str>) -> Result<HitPage> {
        let skip: usize = match page {
            None => 0,
            Some(page) => page.parse().map_err(|_| {
                Error::invalid_input(format!("the page `{}` is none that was given", page.escape_debug()))
            })?,
        };
        let end = skip.saturating_add(k);
        let depth = end.saturating_add(1).saturating_mul(DEPTH).min(MAX_HITS - 1);
        let asked = self
            .retrievers
            .iter()
            .map(|(retriever, options)| retriever.retrieve(query, depth, options, None));
        let lists = future::try_join_all(asked).await?;
        let mut numbers: HashMap<(String, Option<u64>, String), usize> = HashMap::new();
        let mut all: Vec<Hit> = Vec::new();
        let mut ranked = Vec::new();
        for list in lists {
            let mut numbered = Vec::new();
            for hit in list.hits {
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
        let next = (fused.len() > end).then(|| end.to_string());
        let hits = fused.into_iter().skip(skip).take(k);
        let hits = hits.map(|(number, score)| Hit { score, ..all[number].clone() }).collect();
        Ok(HitPage { hits, next })
    }
}
