//! Knowledge bases: documents are loaded, split, embedded, indexed and found again, with where they say what.
mod split;

pub use split::{
    CharacterMeasure, Chunk, Format, FunctionMeasure, Measure, SplitBy, SplitOptions, Splitter, TokenMeasure,
    Unit, WordMeasure,
};
