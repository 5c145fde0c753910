use std::collections::{BTreeMap, BTreeSet};

use puna_plugin::{Error, ErrorKind, Hit, Hits, Query};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    batch::Batch,
    index::{Kept, Passage, document_key, get, passage_key, state},
    postings::Head,
    tokens::tokens,
};

/// BM25's parameters, as Lucene has them (Robertson and Zaragoza 2009): how soon a word that comes again counts no more,
/// and how much the length of a passage counts.
const K1: f64 = 1.2;
const B: f64 = 0.75;

/// Most hits of a page: each comes with its text and metadata.
const MAX_HITS: usize = 50;

/// Longest question, and most of its words that are looked for.
const MAX_QUERY_BYTES: usize = 8 << 10;
const MAX_WORDS: usize = 64;

/// Most postings looked through in one search: the commonest words are left out before the others.
const MAX_POSTINGS: u64 = 500_000;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {}

/// Passages by BM25, with the inverse document frequency that is never negative: ln(1 + (N - n + 0.5) / (n + 0.5)).
///
/// # Errors
/// Too-large for a question that is too long; invalid-input for a page of an index that has changed since; those of the
/// store.
pub fn keyword(query: Query, _: Options) -> Result<Hits, Error> {
    if query.text.len() > MAX_QUERY_BYTES {
        let message = format!("the question takes {} bytes; the most is {MAX_QUERY_BYTES}", query.text.len());
        return Err(Error::new(ErrorKind::TooLarge, message));
    }
    let batch = Batch::default();
    let state = state(&batch)?;
    let skipped = match &query.page {
        Some(page) => place(page, state.changes)?,
        None => 0,
    };
    let words: BTreeSet<String> = tokens(&query.text).into_iter().take(MAX_WORDS).collect();
    let words: Vec<String> = words.into_iter().collect();
    let mut heads: Vec<(Head, String)> = Head::of(&batch, &words)?.into_iter().zip(words).collect();
    heads.sort_by_key(|(head, _)| head.passages);

    let total = state.passages as f64;
    let average = state.words as f64 / total.max(1.0);
    let (mut scores, mut looked): (BTreeMap<u64, f64>, u64) = (BTreeMap::new(), 0);
    for (head, word) in heads {
        looked = looked.saturating_add(head.passages);
        if looked > MAX_POSTINGS {
            break;
        }
        let count = head.passages as f64;
        let rarity = (1.0 + (total - count + 0.5) / (count + 0.5)).ln();
        for posting in head.postings(&batch, &word)? {
            let often = posting.count as f64;
            let length = posting.length as f64 / average;
            let score = rarity * often * (K1 + 1.0) / (often + K1 * (1.0 - B + B * length));
            *scores.entry(posting.passage).or_default() += score;
        }
    }
    let mut ranked: Vec<(u64, f64)> = scores.into_iter().collect();
    // Of equals the one that was kept first.
    ranked.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));

    let k = query.k.min(MAX_HITS);
    let end = skipped.saturating_add(k).min(ranked.len());
    let shown = &ranked[skipped.min(end)..end];
    let next = (k > 0 && end < ranked.len()).then(|| format!("{}-{end}", state.changes));
    Ok(Hits { hits: hits(&batch, shown)?, next })
}

fn hits(batch: &Batch, ranked: &[(u64, f64)]) -> Result<Vec<Hit>, Error> {
    let keys: Vec<String> = ranked.iter().map(|(passage, _)| passage_key(*passage)).collect();
    let passages: Vec<Passage> = get(batch, &keys)?.into_iter().flatten().collect();
    let keys: Vec<String> = passages.iter().map(|passage| document_key(&passage.document)).collect();
    let documents: Vec<Kept> = get(batch, &keys)?.into_iter().flatten().collect();
    if passages.len() != ranked.len() || documents.len() != ranked.len() {
        return Err(Error::internal("a passage of the index is missing; index the documents anew"));
    }
    let hit = |((passage, document), (_, score)): ((Passage, Kept), &(u64, f64))| Hit {
        document: passage.document,
        text: passage.text,
        span: Some(passage.span),
        score: *score,
        metadata: document.metadata,
    };
    Ok(passages.into_iter().zip(documents).zip(ranked).map(hit).collect())
}

/// Where a page begins.
fn place(page: &str, changes: u64) -> Result<usize, Error> {
    let place = page.split_once('-').and_then(|(of, at)| Some((of.parse::<u64>().ok()?, at.parse().ok()?)));
    match place {
        Some((of, at)) if of == changes => Ok(at),
        Some(_) => Err(Error::invalid_input("the index has changed since the page before; ask anew")),
        None => Err(Error::invalid_input("the page is none that this retriever gave")),
    }
}
