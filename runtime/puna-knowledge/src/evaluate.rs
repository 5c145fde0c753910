//! How good searches are, by questions whose answers are judged.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use puna_core::{Error, Reranker, Result};
use serde::Serialize;
use serde_json::Value;

use crate::{KnowledgeBase, SearchOptions};

/// How deep rankings are looked at.
const DEPTH: usize = 100;

/// Chunks asked for: several can be of one document.
const CHUNKS: usize = 300;

/// Questions and which documents answer them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgements {
    /// Each question by its id.
    pub queries: BTreeMap<String, String>,
    /// Of each question how relevant documents are; those that are not named are not.
    pub relevant: BTreeMap<String, HashMap<String, f64>>,
}

/// Means over all questions that have a relevant document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct RetrievalScores {
    /// Questions.
    pub queries: usize,
    /// Normalised discounted cumulative gain of the first ten: `sum of relevance / log2(rank + 1)` over the best possible.
    pub ndcg_10: f64,
    /// The share of a question's relevant documents among the first ten.
    pub recall_10: f64,
    /// The same among the first hundred.
    pub recall_100: f64,
    /// One over the rank of the first relevant document among the first ten, 0 without one.
    pub mrr_10: f64,
}

impl Judgements {
    /// Reads `queries.jsonl` and `qrels/test.tsv` of a folder in BEIR's layout.
    ///
    /// # Errors
    /// [`NotFound`](puna_core::ErrorKind::NotFound) for files that are missing;
    /// [`InvalidInput`](puna_core::ErrorKind::InvalidInput) naming the line that does not read.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut all = Self::default();
        let path = folder.join("queries.jsonl");
        each_line(&path, |line| {
            let query: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
            let id = match &query["_id"] {
                Value::String(id) => id.clone(),
                Value::Number(id) => id.to_string(),
                _ => return Err("it has no `_id`".to_owned()),
            };
            let text = query["text"].as_str().ok_or("it has no `text`")?;
            all.queries.insert(id, text.to_owned());
            Ok(())
        })?;
        let mut first = true;
        each_line(&folder.join("qrels").join("test.tsv"), |line| {
            let header = std::mem::take(&mut first);
            let [query, document, score] = line.split('\t').collect::<Vec<_>>()[..] else {
                return Err("it has other than three columns".to_owned());
            };
            match score.trim().parse::<f64>() {
                Ok(score) if score > 0.0 => {
                    all.relevant.entry(query.to_owned()).or_default().insert(document.to_owned(), score);
                    Ok(())
                }
                Ok(_) => Ok(()),
                Err(_) if header => Ok(()),
                Err(_) => Err(format!("its score `{score}` is no number")),
            }
        })?;
        if all.relevant.is_empty() {
            return Err(Error::invalid_input(format!("`{}` judges no document relevant", folder.display())));
        }
        Ok(all)
    }
}

fn each_line(path: &Path, mut read: impl FnMut(&str) -> Result<(), String>) -> Result<()> {
    let failed = |error| Error::from_io("read", path, error);
    for (number, line) in BufReader::new(File::open(path).map_err(failed)?).lines().enumerate() {
        let line = line.map_err(failed)?;
        if !line.trim().is_empty() {
            read(line.trim_end_matches('\r')).map_err(|reason| {
                Error::invalid_input(format!("line {} of `{}`: {reason}", number + 1, path.display()))
            })?;
        }
    }
    Ok(())
}

/// Asks a knowledge base every question. `name` gives the judgements' id of a document by its own.
///
/// # Errors
/// Those of [`KnowledgeBase::search`].
pub async fn evaluate_retrieval(
    base: &KnowledgeBase,
    judgements: &Judgements,
    options: &SearchOptions,
    reranker: Option<&dyn Reranker>,
    name: &(dyn Fn(&str) -> String + Sync),
) -> Result<RetrievalScores> {
    let mut sums = RetrievalScores::default();
    for (id, relevant) in &judgements.relevant {
        let Some(query) = judgements.queries.get(id) else { continue };
        let hits = base.search(query, CHUNKS, options, reranker).await?;
        let mut seen = HashSet::new();
        let ranking: Vec<String> = hits
            .iter()
            .map(|hit| name(&hit.document))
            .filter(|document| seen.insert(document.clone()))
            .take(DEPTH)
            .collect();
        let scores = score(&ranking, relevant);
        sums.queries += 1;
        sums.ndcg_10 += scores.ndcg_10;
        sums.recall_10 += scores.recall_10;
        sums.recall_100 += scores.recall_100;
        sums.mrr_10 += scores.mrr_10;
    }
    let count = sums.queries.max(1) as f64;
    for sum in [&mut sums.ndcg_10, &mut sums.recall_10, &mut sums.recall_100, &mut sums.mrr_10] {
        *sum /= count;
    }
    Ok(sums)
}

/// The scores of one question's ranking.
pub fn score(ranking: &[String], relevant: &HashMap<String, f64>) -> RetrievalScores {
    let gain = |rank: usize, relevance: f64| relevance / (rank as f64 + 2.0).log2();
    let at = |rank: usize| ranking.get(rank).and_then(|document| relevant.get(document)).copied();
    let gained: f64 = (0..10).filter_map(|rank| Some(gain(rank, at(rank)?))).sum();
    let mut best: Vec<f64> = relevant.values().copied().collect();
    best.sort_by(|a, b| b.total_cmp(a));
    let possible: f64 =
        best.iter().take(10).enumerate().map(|(rank, relevance)| gain(rank, *relevance)).sum();
    let recall = |depth: usize| {
        (0..depth).filter(|rank| at(*rank).is_some()).count() as f64 / relevant.len().max(1) as f64
    };
    RetrievalScores {
        queries: 1,
        ndcg_10: if possible > 0.0 { gained / possible } else { 0.0 },
        recall_10: recall(10),
        recall_100: recall(DEPTH),
        mrr_10: (0..10).find(|rank| at(*rank).is_some()).map_or(0.0, |rank| 1.0 / (rank as f64 + 1.0)),
    }
}
