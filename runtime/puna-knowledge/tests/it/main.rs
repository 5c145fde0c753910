//! Knowledge bases through their public interface.

mod split;
mod support;
