//! Knowledge bases through their public interface.

mod answers;
mod base;
mod kill;
mod linking;
mod load;
mod namespaces;
mod nearest;
mod reembed;
mod search;
mod split;
mod support;
