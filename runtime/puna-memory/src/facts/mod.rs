//! Facts that are kept beyond a conversation.

mod extract;
mod fact;
mod long_term;
mod search;
mod tools;

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use puna_core::{Embedder, Error, ErrorKind, Result};
use puna_store::{Batch, MAX_VALUE_BYTES, Store};

pub use extract::{EXTRACT_INSTRUCTIONS, MAX_FACTS_PER_TURN};
pub use fact::{Fact, FactScope, MAX_FACT_BYTES, MAX_SUBJECT_BYTES, NewFact, Remembered, Source};
pub use long_term::{DEFAULT_RECALL_TOKENS, LongTermMemory, LongTermOptions, MemoryScope};
pub use search::SAME_COSINE;

use crate::{conversations::to_json, now_ms};
use search::Candidate;

/// Where facts live: `scope | id`.
const FACTS: &str = "fact";

/// Where their vectors live: `scope | id`, as the model's fingerprint (4) and 32-bit floats, little-endian.
const VECTORS: &str = "fact-vector";

/// Where each scope counts its changes: `scope`. Whoever changes facts expects the count that it has read by, so that of
/// two who say the same at once one sees the other's.
const COUNTS: &str = "fact-count";

/// Most facts of a scope: a search compares with all of them.
pub const MAX_FACTS_PER_SCOPE: usize = 10_000;

/// How often a change is tried that others come before.
const ATTEMPTS: usize = 64;

/// Keys read at a time.
const PAGE: usize = 1_024;

/// Facts in a [`Store`]. Clones share it.
#[derive(Clone)]
pub struct Facts {
    store: Arc<dyn Store>,
    embedder: Option<Named>,
}

/// An embedder, and what tells its vectors from others'.
#[derive(Clone)]
struct Named {
    embedder: Arc<dyn Embedder>,
    fingerprint: [u8; 4],
}

/// A scope as it was read.
struct Known {
    /// Everything in it, the facts that hold no longer included.
    candidates: Vec<Candidate>,
    /// Its count.
    count: Option<Vec<u8>>,
}

impl Facts {
    /// The facts in a store, found by their words.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, embedder: None }
    }

    /// The same, found by their meaning too. Vectors of another [fingerprint](Embedder::fingerprint) are made anew when they
    /// are needed.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for an embedder whose vectors are too long for the store.
    pub fn with_embedder(mut self, embedder: Arc<dyn Embedder>) -> Result<Self> {
        let bytes = 4 + 4 * embedder.dimension();
        if bytes > MAX_VALUE_BYTES {
            return Err(Error::invalid_input(format!(
                "vectors of {} numbers are too long to be kept with facts; take another embedding model",
                embedder.dimension()
            )));
        }
        let named = format!("{}\0{}", embedder.fingerprint(), embedder.dimension());
        let fingerprint = crc32fast::hash(named.as_bytes()).to_be_bytes();
        self.embedder = Some(Named { embedder, fingerprint });
        Ok(self)
    }

    /// Remembers a fact, unless it is known: the same words, or a cosine of at least [`SAME_COSINE`] with the same numbers
    /// and negations. A fact that it replaces is kept with the time at which it ceased to hold.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a part that is empty or too long, [`NotFound`](ErrorKind::NotFound)
    /// for a fact to replace that is not in the scope, [`ResourceExhausted`](ErrorKind::ResourceExhausted) when the scope
    /// is full; those of the embedder and the store.
    pub async fn remember(&self, scope: &FactScope, new: NewFact) -> Result<Remembered> {
        let (new, prefix) = (new.checked()?, scope.prefix()?);
        let statement = fact::searched(&new.subject, &new.text);
        let vector = self.embed(std::slice::from_ref(&statement)).await?.map(|mut vectors| vectors.remove(0));
        self.change(scope, &prefix, |known: &Known| {
            let now = now_ms();
            let active: Vec<Candidate> = self.active(known, now);
            let old = match &new.replaces {
                None => None,
                Some(id) => Some(find(known, id).ok_or_else(|| no_fact(scope, id))?.clone()),
            };
            if let Some(old) = &old
                && old.is_active(now)
                && search::words(&old.searched()) == search::words(&statement)
            {
                return Ok((Batch::new(), Remembered::Known(old.clone())));
            }
            // What replaces a fact can be very like it, and is not the same.
            let others = |candidate: &Candidate| old.as_ref().is_none_or(|old| old.id != candidate.fact.id);
            let others: Vec<Candidate> = active.into_iter().filter(others).collect();
            let same = search::same(&others, &statement, vector.as_deref()).map(|same| same.fact.clone());
            if let (Some(same), None) = (&same, &old) {
                return Ok((Batch::new(), Remembered::Known(same.clone())));
            }
            if known.candidates.len() >= MAX_FACTS_PER_SCOPE {
                return Err(Error::new(
                    ErrorKind::ResourceExhausted,
                    format!(
                        "{scope} has {MAX_FACTS_PER_SCOPE} facts already, and no room for more; forget some"
                    ),
                ));
            }
            let (fact, batch) = match same {
                Some(same) => (same, Batch::new()),
                None => {
                    let fact = Fact {
                        id: new_id(known),
                        subject: new.subject.clone(),
                        text: new.text.clone(),
                        kind: new.kind.clone(),
                        valid_from_ms: now,
                        valid_to_ms: None,
                        superseded_by: None,
                        expires_ms: new.expires_ms,
                        source: new.source.clone(),
                        uses: 0,
                        used_ms: None,
                    };
                    let mut batch = put(Batch::new(), &prefix, &fact)?;
                    if let (Some(vector), Some(named)) = (&vector, &self.embedder) {
                        let vector = encode(named.fingerprint, vector);
                        batch = batch.put(VECTORS, &key(&prefix, &fact.id), vector);
                    }
                    (fact, batch)
                }
            };
            let Some(mut old) = old else { return Ok((batch, Remembered::Added(fact))) };
            // Of facts that were replaced before, the times stay as they are.
            old.valid_to_ms = old.valid_to_ms.or(Some(now));
            old.superseded_by = old.superseded_by.or_else(|| Some(fact.id.clone()));
            // What is not searched needs no vector.
            let batch = put(batch, &prefix, &old)?.remove(VECTORS, &key(&prefix, &old.id));
            Ok((batch, Remembered::Replaced { new: fact, old: Box::new(old) }))
        })
        .await
    }

    /// The facts that bear on a question, the most relevant first, with scores that are only comparable within the answer:
    /// ranks by words and by meaning, fused (RRF), with a little for facts that are new or were often used.
    ///
    /// # Errors
    /// Those of the embedder and the store.
    pub async fn search(&self, scope: &FactScope, question: &str, limit: usize) -> Result<Vec<(Fact, f64)>> {
        let prefix = scope.prefix()?;
        let (known, now) = (self.read(&prefix).await?, now_ms());
        let mut active = self.active(&known, now);
        if active.is_empty() {
            return Ok(Vec::new());
        }
        self.embed_missing(&prefix, &mut active).await?;
        let vector = match &self.embedder {
            Some(named) => named.embedder.embed_queries(&[question.to_owned()]).await?.pop(),
            None => None,
        };
        let mut found = search::rank(active, question, vector.as_deref(), now);
        found.truncate(limit);
        Ok(found)
    }

    /// Counts a use of each of these facts; those that are gone are passed over.
    ///
    /// # Errors
    /// The store's own.
    pub async fn mark_used(&self, scope: &FactScope, ids: &[String]) -> Result<()> {
        let prefix = scope.prefix()?;
        self.change(scope, &prefix, |known: &Known| {
            let mut batch = Batch::new();
            for fact in ids.iter().filter_map(|id| find(known, id)) {
                let used = Fact { uses: fact.uses + 1, used_ms: Some(now_ms()), ..fact.clone() };
                batch = put(batch, &prefix, &used)?;
            }
            Ok((batch, ()))
        })
        .await
    }

    /// A scope's facts, the oldest first; with `all`, also those that hold no longer.
    ///
    /// # Errors
    /// The store's own.
    pub async fn list(&self, scope: &FactScope, all: bool) -> Result<Vec<Fact>> {
        let (known, now) = (self.read(&scope.prefix()?).await?, now_ms());
        let facts = known.candidates.into_iter().map(|candidate| candidate.fact);
        Ok(facts.filter(|fact| !fact.is_expired(now) && (all || fact.is_active(now))).collect())
    }

    /// A fact.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) when it is not in the scope.
    pub async fn get(&self, scope: &FactScope, id: &str) -> Result<Fact> {
        let known = self.read(&scope.prefix()?).await?;
        find(&known, id).cloned().ok_or_else(|| no_fact(scope, id))
    }

    /// Every scope that has facts.
    ///
    /// # Errors
    /// The store's own.
    pub async fn scopes(&self) -> Result<Vec<FactScope>> {
        let (mut scopes, mut from) = (Vec::new(), Vec::new());
        // Keys of a scope stand together: the next one begins after the last of this one.
        while let Some(key) = self.store.keys(FACTS, &[], &from, 1).await?.pop() {
            let (scope, _) = FactScope::split(&key).ok_or_else(unreadable)?;
            from = [scope.prefix()?, vec![0xff; 2]].concat();
            scopes.push(scope);
        }
        Ok(scopes)
    }

    /// Forgets a fact for good, with the facts that it replaced and their vectors. Gives what was forgotten.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) when it is not in the scope.
    pub async fn forget(&self, scope: &FactScope, id: &str) -> Result<Vec<Fact>> {
        let prefix = scope.prefix()?;
        self.change(scope, &prefix, |known: &Known| {
            let doomed = versions(known, id).ok_or_else(|| no_fact(scope, id))?;
            let batch = doomed.iter().fold(Batch::new(), |batch, fact| remove(batch, &prefix, &fact.id));
            Ok((batch, doomed))
        })
        .await
    }

    /// A fact and those that it replaced.
    pub(crate) async fn versions(&self, scope: &FactScope, id: &str) -> Result<Vec<Fact>> {
        let known = self.read(&scope.prefix()?).await?;
        versions(&known, id).ok_or_else(|| no_fact(scope, id))
    }

    /// Every fact of a scope, those that have expired included.
    pub(crate) async fn everything_of(&self, scope: &FactScope) -> Result<Vec<Fact>> {
        let known = self.read(&scope.prefix()?).await?;
        Ok(known.candidates.into_iter().map(|candidate| candidate.fact).collect())
    }

    /// Forgets everything of a scope. Gives what was forgotten.
    ///
    /// # Errors
    /// The store's own.
    pub async fn forget_all(&self, scope: &FactScope) -> Result<Vec<Fact>> {
        let prefix = scope.prefix()?;
        self.change(scope, &prefix, |known: &Known| {
            let doomed: Vec<Fact> = known.candidates.iter().map(|candidate| candidate.fact.clone()).collect();
            let batch = doomed.iter().fold(Batch::new(), |batch, fact| remove(batch, &prefix, &fact.id));
            Ok((batch, doomed))
        })
        .await
    }

    /// Reads a scope, makes a batch of it and commits that, again as long as others come before. What has expired goes
    /// with it.
    async fn change<T>(
        &self,
        scope: &FactScope,
        prefix: &[u8],
        make: impl Fn(&Known) -> Result<(Batch, T)>,
    ) -> Result<T> {
        for _ in 0..ATTEMPTS {
            let known = self.read(prefix).await?;
            let (mut batch, outcome) = make(&known)?;
            let now = now_ms();
            for candidate in known.candidates.iter().filter(|candidate| candidate.fact.is_expired(now)) {
                batch = remove(batch, prefix, &candidate.fact.id);
            }
            if batch.is_empty() {
                return Ok(outcome);
            }
            let before =
                known.count.as_deref().and_then(|count| count.try_into().ok()).map_or(0, u64::from_be_bytes);
            let batch = batch.expect(COUNTS, prefix, known.count.as_deref()).put(
                COUNTS,
                prefix,
                (before + 1).to_be_bytes().to_vec(),
            );
            match self.store.commit(batch).await {
                Err(error) if error.kind() == ErrorKind::Conflict => tokio::task::yield_now().await,
                Err(error) => return Err(error),
                Ok(()) => return Ok(outcome),
            }
        }
        Err(Error::new(
            ErrorKind::Conflict,
            format!("the facts of {scope} change all the time; {ATTEMPTS} attempts came too late"),
        ))
    }

    async fn read(&self, prefix: &[u8]) -> Result<Known> {
        let count = self.store.get(COUNTS, prefix).await?;
        let fingerprint = self.embedder.as_ref().map(|named| named.fingerprint);
        let mut vectors = std::collections::HashMap::new();
        if let Some(fingerprint) = fingerprint {
            for (key, value) in self.everything(VECTORS, prefix).await? {
                // Vectors of another model are as good as none.
                if let Some(vector) = decode(fingerprint, &value) {
                    vectors.insert(key, vector);
                }
            }
        }
        let facts = self.everything(FACTS, prefix).await?.into_iter().map(|(key, value)| {
            let fact = serde_json::from_slice(&value).map_err(|error| unreadable().with_source(error))?;
            Ok(Candidate { fact, vector: vectors.remove(&key) })
        });
        Ok(Known { candidates: facts.collect::<Result<_>>()?, count })
    }

    async fn everything(&self, namespace: &str, prefix: &[u8]) -> Result<Vec<puna_store::Entry>> {
        let (mut found, mut from) = (Vec::new(), prefix.to_vec());
        loop {
            let page = self.store.scan(namespace, prefix, &from, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(found) };
            from = [last.as_slice(), &[0]].concat();
            found.extend(page);
        }
    }

    fn active(&self, known: &Known, now: u64) -> Vec<Candidate> {
        let active = known.candidates.iter().filter(|candidate| candidate.fact.is_active(now));
        let copy = |candidate: &Candidate| Candidate {
            fact: candidate.fact.clone(),
            vector: candidate.vector.clone(),
        };
        active.map(copy).collect()
    }

    async fn embed(&self, texts: &[String]) -> Result<Option<Vec<Vec<f32>>>> {
        let Some(named) = &self.embedder else { return Ok(None) };
        let vectors = named.embedder.embed(texts).await?;
        if vectors.len() != texts.len() {
            return Err(Error::internal("the embedder gave another number of vectors than texts"));
        }
        Ok(Some(vectors))
    }

    /// Makes the vectors of facts that have none of this model, and keeps them.
    async fn embed_missing(&self, prefix: &[u8], candidates: &mut [Candidate]) -> Result<()> {
        let Some(named) = &self.embedder else { return Ok(()) };
        let missing = || candidates.iter().filter(|candidate| candidate.vector.is_none());
        let texts: Vec<String> = missing().map(|candidate| candidate.fact.searched()).collect();
        if texts.is_empty() {
            return Ok(());
        }
        let Some(vectors) = self.embed(&texts).await? else { return Ok(()) };
        let mut batch = Batch::new();
        for (candidate, vector) in
            candidates.iter_mut().filter(|candidate| candidate.vector.is_none()).zip(vectors)
        {
            // A fact that is forgotten meanwhile must not leave a vector.
            let (key, fact) = (key(prefix, &candidate.fact.id), to_json(&candidate.fact)?);
            batch =
                batch.expect(FACTS, &key, Some(&fact)).put(VECTORS, &key, encode(named.fingerprint, &vector));
            candidate.vector = Some(vector);
        }
        match self.store.commit(batch).await {
            // The next search makes them anew.
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
            committed => committed,
        }
    }
}

fn find<'a>(known: &'a Known, id: &str) -> Option<&'a Fact> {
    known.candidates.iter().map(|candidate| &candidate.fact).find(|fact| fact.id == id)
}

/// A fact and those that it replaced, directly or not; none where there is no such fact.
fn versions(known: &Known, id: &str) -> Option<Vec<Fact>> {
    let mut found = vec![find(known, id)?.clone()];
    let mut at = 0;
    while let Some(fact) = found.get(at) {
        let replaced = |other: &&Candidate| other.fact.superseded_by.as_ref() == Some(&fact.id);
        let older: Vec<Fact> =
            known.candidates.iter().filter(replaced).map(|other| other.fact.clone()).collect();
        found.extend(older.into_iter().filter(|older| older.id != id));
        at += 1;
    }
    Some(found)
}

fn key(prefix: &[u8], id: &str) -> Vec<u8> {
    [prefix, id.as_bytes()].concat()
}

fn put(batch: Batch, prefix: &[u8], fact: &Fact) -> Result<Batch> {
    Ok(batch.put(FACTS, &key(prefix, &fact.id), to_json(fact)?))
}

fn remove(batch: Batch, prefix: &[u8], id: &str) -> Batch {
    let key = key(prefix, id);
    batch.remove(FACTS, &key).remove(VECTORS, &key)
}

/// An identifier that sorts by time and that a model can repeat: ten digits in base 36.
fn new_id(known: &Known) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    loop {
        // Seven digits of milliseconds since 1970 in units of 64, good for longer than this century, and three of chance.
        let chance = RandomState::new().hash_one(now_ms()) % 36_u64.pow(3);
        let mut number = (now_ms() / 64) * 36_u64.pow(3) + chance;
        let mut id = Vec::new();
        while number > 0 {
            id.push(char::from(DIGITS[(number % 36) as usize]));
            number /= 36;
        }
        let id: String = id.into_iter().rev().collect();
        if find(known, &id).is_none() {
            return id;
        }
    }
}

fn encode(fingerprint: [u8; 4], vector: &[f32]) -> Vec<u8> {
    fingerprint.into_iter().chain(vector.iter().flat_map(|number| number.to_le_bytes())).collect()
}

fn decode(fingerprint: [u8; 4], bytes: &[u8]) -> Option<Vec<f32>> {
    let (found, numbers) = bytes.split_first_chunk::<4>()?;
    let (numbers, rest) = numbers.as_chunks::<4>();
    (*found == fingerprint && rest.is_empty())
        .then(|| numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
}

fn unreadable() -> Error {
    Error::new(ErrorKind::Corrupt, "a fact does not read back as it was written")
}

fn no_fact(scope: &FactScope, id: &str) -> Error {
    let id: String = id.chars().take(MAX_SUBJECT_BYTES).collect();
    Error::new(ErrorKind::NotFound, format!("there is no fact `{}` of {scope}", id.escape_debug()))
}
