//! Knowledge bases through their public interface.

mod answers;
mod base;
mod bm25;
mod kill;
mod linking;
mod load;
mod namespaces;
mod nearest;
mod reembed;
mod search;
mod split;
mod support;
