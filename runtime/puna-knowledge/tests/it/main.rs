//! Knowledge bases through their public interface.

mod base;
mod kill;
mod load;
mod namespaces;
mod reembed;
mod search;
mod split;
mod support;
