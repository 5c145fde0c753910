//! Markdown for models to read: a [`Writer`] that plugins write documents with, and [`html`] as Markdown.
//!
//! Invariant: what is written is at most a named multiple of what is read, and its nesting costs no memory.

pub mod html;
mod writer;

pub use writer::Writer;
