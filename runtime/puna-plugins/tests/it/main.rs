//! The host against guests of every temper, and the records of the committed components.

mod building;
#[cfg(unix)]
mod caching;
mod calling;
mod documents;
mod guests;
mod lending;
mod loading;
mod probe;
mod reaching;
mod reading;
