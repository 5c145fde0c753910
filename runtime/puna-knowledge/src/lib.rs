//! Knowledge bases: documents are loaded, split, embedded, indexed and found again, with where they say what.
//!
//! [`Knowledge`] holds the knowledge bases of a [`Store`](puna_store::Store); a [`KnowledgeBase`] takes documents
//! ([`ingest`](KnowledgeBase::ingest)) and answers searches ([`search`](KnowledgeBase::search)). [`BaseRetriever`] is one
//! as a [`Retriever`](puna_core::Retriever).
//!
//! Invariants: the store is the truth, and the indexes come from it; a document is there whole or not at all, and counted
//! only when it is on the disk. A namespace is a prefix of keys, never a filter. What is removed is removed from every
//! index. A chunk's span reproduces its text.
//!
//! Absent: models (they come as traits), the network, formats other than text (they come as loaders).

mod base;
mod cite;
mod documents;
mod evaluate;
mod fuse;
mod html;
mod index;
mod indexes;
mod ingest;
mod keys;
mod load;
mod pack;
mod record;
mod reembed;
mod rewrite;
mod search;
mod snapshot;
mod split;
mod upkeep;
mod verify;

pub use base::{BaseOptions, BaseStats, BaseSummary, Knowledge, KnowledgeBase, MAX_DIMENSION};
pub use cite::check_citations;
pub use documents::{MAX_DOCUMENT_BYTES, MAX_DOCUMENT_CHUNKS, MAX_METADATA_BYTES};
pub use evaluate::{Judgements, RetrievalScores, evaluate_retrieval, score};
pub use fuse::FusedRetriever;
pub use index::{Metric, NearestVectors, Precision, Scan};
pub use ingest::{Failed, Failure, IngestOptions, Input, Progress, Report};
pub use keys::{MAX_BASE_NAME_BYTES, MAX_DOCUMENT_ID_BYTES, MAX_NAMESPACE_BYTES};
pub use load::{
    FileKind, Inputs, Loaders, MAX_FILE_BYTES, MAX_FILES, detect, find_files, load_bytes, load_files,
};
pub use pack::{PackPolicy, Packed, Source, pack};
pub use puna_core::{Filter, MAX_FILTER_CONDITIONS, MAX_FILTER_DEPTH};
pub use record::{DocumentRecord, Embedding};
pub use rewrite::{REWRITE_INSTRUCTIONS, rewrite_question};
pub use search::{BaseRetriever, MAX_HITS, MAX_QUERIES, MAX_QUERY_BYTES, SearchMode, SearchOptions};
pub use split::{
    CharacterMeasure, Chunk, Format, FunctionMeasure, Measure, SplitBy, SplitOptions, Splitter, TokenMeasure,
    Unit, WordMeasure,
};
pub use verify::Verification;
