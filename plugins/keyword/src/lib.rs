//! A retriever by keywords: BM25 over passages of documents that the plugin keeps in its own keys and values, with tools
//! to add and remove them.
//!
//! A document is changed in one write, all or none: an index that was cut off is the index before.

mod batch;
mod find;
mod index;
mod passages;
mod postings;
mod tokens;

puna_plugin::tools! {
    "index_document": index::index_document => "Keep a document to be found by its words; one of the same id is replaced.",
    "remove_document": index::remove_document => "Remove a kept document.",
    "index_stats": index::index_stats => "Tell how much is kept.",
}

puna_plugin::retrievers! {
    "keyword": find::keyword => "Finds passages of kept documents by their words (BM25).",
}
