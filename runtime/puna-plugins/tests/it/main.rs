//! The host with honest guests, and the records of the committed components; for the others see `tests/hostile`.

mod building;
mod calling;
mod documents;
mod fetching;
mod guests;
mod lending;
mod probe;
mod reading;
mod replacing;
