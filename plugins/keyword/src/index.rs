//! Documents, added and removed.

use std::collections::BTreeMap;

use puna_plugin::{Error, ErrorKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{
    batch::Batch,
    passages::passages,
    postings::{Head, Posting},
    tokens::tokens,
};

/// Longest text of a document: its words change the index in one write.
const MAX_TEXT_BYTES: usize = 64 << 10;

/// Longest identifier, which stands in a key.
const MAX_ID_BYTES: usize = 256;

/// Longest metadata, as JSON: it comes back with every hit.
const MAX_METADATA_BYTES: usize = 2 << 10;

/// Most passages kept: a search looks through those of its words.
const MAX_PASSAGES: u64 = 500_000;

const STATE_KEY: &str = "state";

/// What the index knows of itself.
#[derive(Default, Serialize, Deserialize)]
pub struct State {
    pub documents: u64,
    pub passages: u64,
    /// Words in all passages.
    pub words: u64,
    /// The number of the next passage; none is used twice.
    next: u64,
    /// Grows with each change.
    pub changes: u64,
}

/// A document without its text.
#[derive(Serialize, Deserialize)]
pub struct Kept {
    first: u64,
    passages: u64,
    pub metadata: Map<String, Value>,
}

/// A passage.
#[derive(Serialize, Deserialize)]
pub struct Passage {
    pub document: String,
    pub span: (u64, u64),
    pub text: String,
}

#[derive(Deserialize, JsonSchema)]
pub struct IndexDocument {
    /// What the document is known by.
    id: String,
    text: String,
    /// What else is to come back with its passages.
    metadata: Option<Map<String, Value>>,
}

#[derive(Serialize, JsonSchema)]
pub struct Indexed {
    passages: u64,
    /// Whether a document of this id was replaced.
    replaced: bool,
}

/// Keeps a document.
///
/// # Errors
/// Too-large above the limits of texts and of the index, and those of the store.
pub fn index_document(arguments: IndexDocument) -> Result<Indexed, Error> {
    let IndexDocument { id, text, metadata } = arguments;
    check_id(&id)?;
    let metadata = metadata.unwrap_or_default();
    let metadata_length = serde_json::to_string(&metadata).map_or(usize::MAX, |json| json.len());
    for (name, length, most) in
        [("text", text.len(), MAX_TEXT_BYTES), ("metadata", metadata_length, MAX_METADATA_BYTES)]
    {
        if length > most {
            let message = format!("`{name}` takes {length} bytes; the most is {most}");
            return Err(Error::new(ErrorKind::TooLarge, message).at(format!("/{name}")));
        }
    }

    let mut batch = Batch::default();
    let mut state = state(&batch)?;
    let replaced = take_out(&mut batch, &mut state, &id)?;
    let first = state.next;
    let mut words: BTreeMap<String, Vec<Posting>> = BTreeMap::new();
    for (start, end) in passages(&text) {
        let passage = &text[start..end];
        let counts = counted(passage);
        let length: u64 = counts.values().sum();
        for (word, count) in counts {
            words.entry(word).or_default().push(Posting { passage: state.next, count, length });
        }
        let span = (start as u64, end as u64);
        let kept = Passage { document: id.clone(), span, text: passage.to_owned() };
        put(&mut batch, passage_key(state.next), &kept)?;
        state.next += 1;
        state.words += length;
    }
    let count = state.next - first;
    state.passages += count;
    state.documents += 1;
    if state.passages > MAX_PASSAGES {
        let message = format!("the index is full: it holds {MAX_PASSAGES} passages; remove documents");
        return Err(Error::new(ErrorKind::TooLarge, message));
    }
    let names: Vec<String> = words.keys().cloned().collect();
    for ((word, postings), head) in words.iter().zip(Head::of(&batch, &names)?) {
        head.append(&mut batch, word, postings)?;
    }
    put(&mut batch, document_key(&id), &Kept { first, passages: count, metadata })?;
    finish(batch, state)?;
    Ok(Indexed { passages: count, replaced })
}

#[derive(Deserialize, JsonSchema)]
pub struct RemoveDocument {
    id: String,
}

#[derive(Serialize, JsonSchema)]
pub struct Removed {
    /// Whether there was a document of this id.
    removed: bool,
}

/// Removes a document.
///
/// # Errors
/// Those of the store.
pub fn remove_document(arguments: RemoveDocument) -> Result<Removed, Error> {
    check_id(&arguments.id)?;
    let mut batch = Batch::default();
    let mut state = state(&batch)?;
    let removed = take_out(&mut batch, &mut state, &arguments.id)?;
    if removed {
        finish(batch, state)?;
    }
    Ok(Removed { removed })
}

#[derive(Deserialize, JsonSchema)]
pub struct Nothing {}

#[derive(Serialize, JsonSchema)]
pub struct Stats {
    documents: u64,
    passages: u64,
    /// Words in all passages.
    words: u64,
}

/// Tells how much is kept.
///
/// # Errors
/// Those of the store.
pub fn index_stats(_: Nothing) -> Result<Stats, Error> {
    let State { documents, passages, words, .. } = state(&Batch::default())?;
    Ok(Stats { documents, passages, words })
}

fn check_id(id: &str) -> Result<(), Error> {
    if id.is_empty() || id.len() > MAX_ID_BYTES {
        let message = format!("`id` takes 1 to {MAX_ID_BYTES} bytes; got {}", id.len());
        return Err(Error::invalid_input(message).at("/id"));
    }
    Ok(())
}

/// What the index knows of itself.
pub fn state(batch: &Batch) -> Result<State, Error> {
    Ok(get(batch, &[STATE_KEY.to_owned()])?.pop().flatten().unwrap_or_default())
}

fn finish(mut batch: Batch, mut state: State) -> Result<(), Error> {
    state.changes += 1;
    put(&mut batch, STATE_KEY.to_owned(), &state)?;
    batch.commit()
}

/// Takes a document out; whether there was one.
fn take_out(batch: &mut Batch, state: &mut State, id: &str) -> Result<bool, Error> {
    let Some(kept) = get::<Kept>(batch, &[document_key(id)])?.pop().flatten() else { return Ok(false) };
    let numbers: Vec<u64> = (kept.first..kept.first + kept.passages).collect();
    let keys: Vec<String> = numbers.iter().map(|number| passage_key(*number)).collect();
    let mut words: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (passage, number) in get::<Passage>(batch, &keys)?.into_iter().zip(&numbers) {
        let counts = passage.map(|passage| counted(&passage.text)).unwrap_or_default();
        state.words = state.words.saturating_sub(counts.values().sum());
        for word in counts.into_keys() {
            words.entry(word).or_default().push(*number);
        }
    }
    let names: Vec<String> = words.keys().cloned().collect();
    for ((word, numbers), head) in words.iter().zip(Head::of(batch, &names)?) {
        head.remove(batch, word, numbers)?;
    }
    keys.into_iter().for_each(|key| batch.put(key, None));
    batch.put(document_key(id), None);
    state.passages = state.passages.saturating_sub(kept.passages);
    state.documents = state.documents.saturating_sub(1);
    Ok(true)
}

fn counted(text: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for token in tokens(text) {
        *counts.entry(token).or_insert(0) += 1;
    }
    counts
}

/// Where a passage is kept.
pub fn passage_key(number: u64) -> String {
    format!("passage/{number:x}")
}

/// Where a document is kept.
pub fn document_key(id: &str) -> String {
    format!("document/{id}")
}

/// Values of keys, in their order.
pub fn get<T: DeserializeOwned>(batch: &Batch, keys: &[String]) -> Result<Vec<Option<T>>, Error> {
    let values = batch.get(keys)?.into_iter().zip(keys);
    values
        .map(|(value, key)| {
            let read = value.map(|value| serde_json::from_slice(&value)).transpose();
            read.map_err(|error| Error::internal(format!("`{key}` of the index is broken: {error}")))
        })
        .collect()
}

fn put(batch: &mut Batch, key: String, value: &impl Serialize) -> Result<(), Error> {
    let bytes = serde_json::to_vec(value).map_err(|error| Error::internal(error.to_string()))?;
    batch.put(key, Some(bytes));
    Ok(())
}
