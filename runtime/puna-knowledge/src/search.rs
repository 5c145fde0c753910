//! Searches: by meaning, by words, by both; narrowed, varied, judged again.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use puna_core::{Error, ErrorKind, Hit, HitPage, Reranker, Result, Retriever, Span};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Embedding, Filter, KnowledgeBase, Scan,
    base::read,
    index::{Row, terms},
    ingest::check_vectors,
    record::now_ms,
};

/// The constant of reciprocal rank fusion (Cormack, Clarke and Büttcher 2009).
const RRF: f64 = 60.0;

/// Most hits of a search, pages before included: bounds what is read from the store.
pub const MAX_HITS: usize = 1_000;

/// Most questions of one search.
pub const MAX_QUERIES: usize = 16;

/// Longest question, in bytes.
pub const MAX_QUERY_BYTES: usize = 64 << 10;

/// Candidates for each hit that is wanted, and at least so many.
const CANDIDATES_A_HIT: usize = 5;
const LEAST_CANDIDATES: usize = 50;

/// How a search is done. As JSON these are the options of [`Retriever::retrieve`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SearchOptions {
    /// What is compared.
    pub mode: SearchMode,
    /// Which documents may be found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// The same question in other words: what is found for any of them is fused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub queries: Vec<String>,
    /// Between hits that answer best (1) and hits that differ most from each other (0): maximal marginal relevance with
    /// this lambda; 0.5 is usual. Without it hits can say the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diversity: Option<f32>,
    /// How many of what each way finds are fused, judged again and varied; without it 5 a hit, and at least 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates: Option<usize>,
    /// Whether the best candidates are read again together with the question by the reranker, where there is one; without
    /// it they are where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerank: Option<bool>,
    /// Whether a hit is its chunk's parent, each once.
    pub parents: bool,
    /// How vectors are compared.
    pub scan: Scan,
}

/// What is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SearchMode {
    /// Meaning and words, fused by their ranks.
    #[default]
    Hybrid,
    /// Meaning, by vectors.
    Vector,
    /// Words, by BM25.
    Keyword,
}

/// A knowledge base as a retriever, with a reranker of its own.
#[derive(Clone)]
pub struct BaseRetriever {
    /// The knowledge base.
    pub base: KnowledgeBase,
    /// What a search's options are where it does not give its own.
    pub options: SearchOptions,
    /// Reads the best candidates again.
    pub reranker: Option<Arc<dyn Reranker>>,
}

impl KnowledgeBase {
    /// The best `k` chunks for a question, best first. Scores are of the last way that ranked: the reranker's; fused ranks;
    /// BM25's; the cosine.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for options that cannot be kept; [`Conflict`](ErrorKind::Conflict) for a
    /// search by vectors when they are of another model than the base was opened with; the embedder's and the store's own.
    pub async fn search(
        &self,
        query: &str,
        k: usize,
        options: &SearchOptions,
        reranker: Option<&dyn Reranker>,
    ) -> Result<Vec<Hit>> {
        options.check(query, k)?;
        self.remove_expired(now_ms()).await?;
        let wanted =
            options.candidates.unwrap_or_else(|| (k * CANDIDATES_A_HIT).max(LEAST_CANDIDATES)).max(k);
        let queries: Vec<String> =
            std::iter::once(query.to_owned()).chain(options.queries.iter().cloned()).collect();
        let found = loop {
            let (vectors, embedding) = if options.mode == SearchMode::Keyword && options.diversity.is_none() {
                (Vec::new(), None)
            } else {
                let embedding = self.embedding();
                let embedder = self.matching_embedder()?;
                let vectors = embedder.embed_queries(&queries).await?;
                check_vectors(&vectors, queries.len(), embedder.dimension())?;
                (vectors, Some(embedding))
            };
            let (base, queries, asked) = (self.clone(), queries.clone(), options.clone());
            let found = tokio::task::spawn_blocking(move || {
                base.candidates(&queries, &vectors, embedding.as_ref(), wanted, &asked)
            });
            let found = found.await.map_err(|error| Error::internal("a search broke").with_source(error))?;
            // None where the model has just changed: the question is embedded again.
            if let Some(found) = found {
                break found;
            }
        };
        let mut hits = self.hits(found, options.parents).await?;
        if let Some(reranker) = reranker.filter(|_| options.rerank != Some(false)) {
            if options.diversity.is_some() {
                return Err(Error::invalid_input(
                    "`diversity` and a reranker each put the hits in order; leave one of the two out",
                ));
            }
            rerank(reranker, query, &mut hits).await?;
        } else if options.rerank == Some(true) {
            return Err(Error::invalid_input("`rerank` is asked for, and there is no reranker"));
        }
        hits.truncate(k);
        Ok(hits)
    }

    /// What is found, best first; none where the indexes are no longer of the model that the vectors are of.
    fn candidates(
        &self,
        queries: &[String],
        vectors: &[Vec<f32>],
        embedding: Option<&Embedding>,
        wanted: usize,
        options: &SearchOptions,
    ) -> Option<Vec<Candidate>> {
        let indexes = read(&self.0.indexes);
        // They change together, under the lock that is held.
        if embedding.is_some_and(|embedding| *embedding != self.embedding()) {
            return None;
        }
        let allowed = indexes.allowed(options.filter.as_ref());
        let (alive, allowed) = (indexes.rows.alive(), allowed.as_ref());
        let mut lists = Vec::new();
        if options.mode != SearchMode::Keyword {
            for vector in vectors {
                lists.push(indexes.vectors.search(vector, wanted, alive, allowed, options.scan, None));
            }
        }
        if options.mode != SearchMode::Vector {
            for query in queries {
                lists.push(indexes.keywords.search(&terms(query), wanted, alive, allowed));
            }
        }
        let mut ranked: Vec<(Row, f64)> = match <[_; 1]>::try_from(lists) {
            Ok([one]) => one.into_iter().map(|(row, score)| (row, f64::from(score))).collect(),
            Err(lists) => fuse(lists.into_iter().map(|list| list.into_iter().map(|(row, _)| row))),
        };
        ranked.truncate(wanted);
        if let (Some(lambda), Some(query)) = (options.diversity, vectors.first()) {
            let relevance = |row| {
                let vector = indexes.vectors.vector(row);
                let score =
                    dot(query, &vector) / (dot(query, query) * dot(&vector, &vector)).sqrt().max(1e-12);
                (vector, score)
            };
            ranked = vary(ranked, lambda, relevance);
        }
        let candidate = |(row, score)| {
            let (number, chunk, record) = indexes.chunk(row)?;
            Some(Candidate { number, chunk, record: Arc::clone(record), score })
        };
        Some(ranked.into_iter().filter_map(candidate).collect())
    }

    /// The texts of candidates. What was removed in the meantime is left out.
    async fn hits(&self, candidates: Vec<Candidate>, parents: bool) -> Result<Vec<Hit>> {
        let documents = &self.0.documents;
        let (mut hits, mut seen) = (Vec::new(), std::collections::HashSet::new());
        for Candidate { number, chunk, record, score } in candidates {
            let read = async {
                let chunk = documents.chunk(number, chunk).await?;
                let span = if parents { chunk.parent } else { chunk.span };
                if !seen.insert((number, span.start)) {
                    return Ok(None);
                }
                Ok(Some((documents.text(number, span.clone()).await?, span)))
            };
            let (text, span) = match read.await {
                Ok(Some(found)) => found,
                Ok(None) => continue,
                Err(error) if Error::kind(&error) == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            hits.push(Hit {
                document: record.id.clone(),
                text,
                span: Some(Span { start: span.start.into(), end: span.end.into() }),
                score,
                metadata: record.metadata.clone(),
            });
        }
        Ok(hits)
    }
}

struct Candidate {
    number: u64,
    chunk: u32,
    record: Arc<crate::DocumentRecord>,
    score: f64,
}

/// Puts hits in the order that a reranker finds, with its scores. Equals stay as they were found.
pub(crate) async fn rerank(reranker: &dyn Reranker, query: &str, hits: &mut [Hit]) -> Result<()> {
    let texts: Vec<String> = hits.iter().map(|hit| hit.text.clone()).collect();
    if texts.is_empty() {
        return Ok(());
    }
    let scores = reranker.rerank(query, &texts).await?;
    if scores.len() != texts.len() {
        return Err(Error::internal("the reranker gave another number of scores than texts"));
    }
    hits.iter_mut().zip(scores).for_each(|(hit, score)| hit.score = f64::from(score));
    hits.sort_by(|a, b| b.score.total_cmp(&a.score));
    Ok(())
}

/// Whether so many and so long questions are taken.
pub(crate) fn check_queries(queries: &[&str]) -> Result<()> {
    limit("a number of questions", queries.len(), MAX_QUERIES)?;
    queries.iter().try_for_each(|text| limit("a question's length in bytes", text.len(), MAX_QUERY_BYTES))
}

fn limit(what: &str, got: usize, most: usize) -> Result<()> {
    if got <= most {
        return Ok(());
    }
    Err(Error::invalid_input(format!("{what} of {got} is over the limit of {most}")))
}

impl SearchOptions {
    fn check(&self, query: &str, k: usize) -> Result<()> {
        limit("a number of hits", k, MAX_HITS)?;
        limit("`candidates`", self.candidates.unwrap_or(0), MAX_HITS * CANDIDATES_A_HIT)?;
        let queries: Vec<&str> = self.queries.iter().map(String::as_str).chain([query]).collect();
        check_queries(&queries)?;
        if let Some(lambda) = self.diversity.filter(|lambda| !(0.0..=1.0).contains(lambda)) {
            return Err(Error::invalid_input(format!("`diversity` is `{lambda}`; it is from 0 to 1")));
        }
        self.filter.as_ref().map_or(Ok(()), Filter::check)
    }
}

#[async_trait]
impl Retriever for BaseRetriever {
    async fn retrieve(&self, query: &str, k: usize, options: &Value, page: Option<&str>) -> Result<HitPage> {
        let options = match options {
            Value::Null => self.options.clone(),
            given => merged(&self.options, given)?,
        };
        let skip: usize = match page {
            None => 0,
            Some(page) => page.parse().map_err(|_| {
                Error::invalid_input(format!("the page `{}` is none that was given", page.escape_debug()))
            })?,
        };
        let end = skip.saturating_add(k);
        let reranker = self.reranker.as_deref();
        // One more tells whether there is a next page.
        let most = end.saturating_add(1).min(MAX_HITS.max(end));
        let mut hits = self.base.search(query, most, &options, reranker).await?;
        let next = (hits.len() > end).then(|| end.to_string());
        hits.truncate(end);
        hits.drain(..skip.min(hits.len()));
        Ok(HitPage { hits, next })
    }
}

/// Options with others over them, key by key.
fn merged(base: &SearchOptions, over: &Value) -> Result<SearchOptions> {
    let wrong = |error| Error::invalid_input("the search's options are wrong").with_source(error);
    let mut all = serde_json::to_value(base).map_err(wrong)?;
    match (&mut all, over) {
        (Value::Object(all), Value::Object(over)) => {
            all.extend(over.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        _ => return Err(Error::invalid_input("the search's options are no JSON object")),
    }
    serde_json::from_value(all).map_err(wrong)
}

/// Lists fused by reciprocal ranks: `sum of 1 / (60 + rank)`, ranks from 1. Of equals the one found first comes first.
pub(crate) fn fuse<T: Copy + Eq + std::hash::Hash>(
    lists: impl Iterator<Item = impl Iterator<Item = T>>,
) -> Vec<(T, f64)> {
    let mut places: HashMap<T, usize> = HashMap::new();
    let mut fused: Vec<(T, f64)> = Vec::new();
    for list in lists {
        for (rank, one) in list.enumerate() {
            let place = *places.entry(one).or_insert(fused.len());
            if place == fused.len() {
                fused.push((one, 0.0));
            }
            fused[place].1 += 1.0 / (RRF + rank as f64 + 1.0);
        }
    }
    fused.sort_by(|a, b| b.1.total_cmp(&a.1));
    fused
}

/// Orders rows by maximal marginal relevance (Carbonell and Goldstein 1998): next comes what has the highest `lambda *
/// relevance - (1 - lambda) * likeness`, the likeness being that with the nearest row chosen before. Scores stay.
fn vary(ranked: Vec<(Row, f64)>, lambda: f32, relevance: impl Fn(Row) -> (Vec<f32>, f32)) -> Vec<(Row, f64)> {
    let mut rest: Vec<(Row, f64, Vec<f32>, f32, f32)> = ranked
        .into_iter()
        .map(|(row, score)| {
            let (vector, relevance) = relevance(row);
            (row, score, vector, relevance, f32::NEG_INFINITY)
        })
        .collect();
    let mut chosen = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let value = |(_, _, _, relevance, likeness): &(Row, f64, Vec<f32>, f32, f32)| {
            // The first has nothing to be like.
            let likeness = if likeness.is_finite() { *likeness } else { 0.0 };
            lambda * relevance - (1.0 - lambda) * likeness
        };
        let mut best = 0;
        for index in 1..rest.len() {
            if value(&rest[index]) > value(&rest[best]) {
                best = index;
            }
        }
        let (row, score, vector, ..) = rest.remove(best);
        for (_, _, other, _, likeness) in &mut rest {
            let length = (dot(&vector, &vector) * dot(other, other)).sqrt().max(1e-12);
            *likeness = likeness.max(dot(&vector, other) / length);
        }
        chosen.push((row, score));
    }
    chosen
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}
