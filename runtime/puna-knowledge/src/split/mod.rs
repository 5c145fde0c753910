//! Texts in chunks, each with its true span.
//!
//! Every splitter is a way to find borders, each with a rank; one packer takes as much as fits between them and cuts at
//! the strongest border near the end. So all keep sizes, overlap and spans alike.

mod border;
mod code;
mod html;
mod markdown;
mod measure;
mod pack;
mod semantic;

use std::{ops::Range, sync::Arc};

use puna_core::{Embedder, Error, Result};
use serde::{Deserialize, Serialize};

pub(crate) use self::html::is_block;
pub use self::measure::{CharacterMeasure, FunctionMeasure, Measure, TokenMeasure, WordMeasure};
use self::{border::Border, pack::Packer};

/// How texts are split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SplitOptions {
    /// Where borders are looked for.
    pub by: SplitBy,
    /// What [`size`](Self::size) and [`overlap`](Self::overlap) count.
    pub unit: Unit,
    /// Most units of a chunk. A single character that has more is a chunk all the same.
    pub size: usize,
    /// Most units that a chunk has in common with the one before it.
    pub overlap: usize,
    /// Most units of a parent: chunks are made within parents, and a search can give the parent for its chunk. Without
    /// it a chunk is its own parent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_size: Option<usize>,
}

impl Default for SplitOptions {
    /// 200 tokens: all-MiniLM-L6-v2 reads 256, and its quality falls with length before that.
    fn default() -> Self {
        Self { by: SplitBy::Auto, unit: Unit::Tokens, size: 200, overlap: 20, parent_size: None }
    }
}

/// Where borders are looked for. All of them fall back to paragraphs, lines, sentences, words and characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitBy {
    /// As the document's format says.
    #[default]
    Auto,
    /// Paragraphs, lines, sentences, words.
    Recursive,
    /// Markdown's headings by their depth, blocks, and code that is kept together.
    Markdown,
    /// HTML's headings and blocks; no tag is cut that fits into a chunk.
    Html,
    /// Definitions by blank lines and indentation.
    Code,
    /// Where the meaning turns: neighbouring sentences whose embeddings are far apart.
    Semantic,
}

/// What sizes count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Tokens of the embedding model.
    #[default]
    Tokens,
    /// Characters (Unicode scalar values).
    Characters,
    /// Words as Unicode's annex 29 has them.
    Words,
}

/// What a document's text is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Text without a structure that is known.
    #[default]
    Text,
    /// Markdown.
    Markdown,
    /// HTML.
    Html,
    /// The source of a program.
    Code,
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where it stands, in bytes: `text[span]` is the chunk. It neither begins nor ends with white space.
    pub span: Range<usize>,
    /// The span of the larger part that it belongs to; its own without one.
    pub parent: Range<usize>,
    /// Its length in units, measured alone.
    pub length: usize,
}

/// Splits texts as its options say.
#[derive(Clone)]
pub struct Splitter {
    options: SplitOptions,
    measure: Arc<dyn Measure>,
    embedder: Option<Arc<dyn Embedder>>,
}

impl Splitter {
    /// A splitter that counts with `measure`, whatever the options' [`unit`](SplitOptions::unit).
    ///
    /// # Errors
    /// [`InvalidInput`](puna_core::ErrorKind::InvalidInput) for a size of 0, an overlap of more than half of it, and a
    /// parent smaller than its chunks.
    pub fn new(options: SplitOptions, measure: Arc<dyn Measure>) -> Result<Self> {
        options.check()?;
        Ok(Self { options, measure, embedder: None })
    }

    /// A splitter for an embedder's texts: it counts the embedder's tokens (words where it tells none), and splits by
    /// meaning where that is asked for.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn for_embedder(options: SplitOptions, embedder: Arc<dyn Embedder>) -> Result<Self> {
        let measure: Arc<dyn Measure> = match options.unit {
            Unit::Tokens => Arc::new(TokenMeasure::new(Arc::clone(&embedder))),
            Unit::Characters => Arc::new(CharacterMeasure),
            Unit::Words => Arc::new(WordMeasure),
        };
        Ok(Self { embedder: Some(embedder), ..Self::new(options, measure)? })
    }

    /// The options.
    pub fn options(&self) -> &SplitOptions {
        &self.options
    }

    /// A text's chunks in order. Everything but white space is in one of them; they overlap as the options say.
    ///
    /// # Errors
    /// [`InvalidInput`](puna_core::ErrorKind::InvalidInput) when it is to be split by meaning and there is no embedder;
    /// the measure's and the embedder's own.
    pub async fn split(&self, text: &str, format: Format) -> Result<Vec<Chunk>> {
        let by = match (self.options.by, format) {
            (SplitBy::Auto, Format::Text) => SplitBy::Recursive,
            (SplitBy::Auto, Format::Markdown) => SplitBy::Markdown,
            (SplitBy::Auto, Format::Html) => SplitBy::Html,
            (SplitBy::Auto, Format::Code) => SplitBy::Code,
            (by, _) => by,
        };
        let borders: Vec<Border> = match by {
            SplitBy::Auto | SplitBy::Recursive => border::recursive(text),
            SplitBy::Markdown => markdown::borders(text),
            SplitBy::Html => html::borders(text),
            SplitBy::Code => code::borders(text),
            SplitBy::Semantic => {
                let embedder = self.embedder.as_ref().ok_or_else(|| {
                    Error::invalid_input("to split by meaning, a splitter needs an embedding model")
                })?;
                semantic::borders(text, &**embedder).await?
            }
        };
        let packer = Packer::new(text, &borders, &*self.measure)?;
        let SplitOptions { size, overlap, parent_size, .. } = self.options;
        let Some(parent_size) = parent_size else { return packer.pack(0..text.len(), size, overlap) };
        let mut chunks = Vec::new();
        for parent in packer.pack(0..text.len(), parent_size, 0)? {
            let children = packer.pack(parent.span.clone(), size, overlap)?;
            chunks.extend(children.into_iter().map(|child| Chunk { parent: parent.span.clone(), ..child }));
        }
        Ok(chunks)
    }
}

impl SplitOptions {
    /// Whether they can be kept.
    ///
    /// # Errors
    /// See [`Splitter::new`].
    pub fn check(&self) -> Result<()> {
        let Self { size, overlap, parent_size, .. } = self;
        if *size == 0 {
            return Err(Error::invalid_input("`size` is `0`; a chunk has at least 1 unit"));
        }
        if *overlap > size / 2 {
            return Err(Error::invalid_input(format!(
                "`overlap` is `{overlap}`; at most half of `size`, {}, is taken",
                size / 2
            )));
        }
        if let Some(parent) = parent_size.filter(|parent| parent < size) {
            return Err(Error::invalid_input(format!(
                "`parent_size` is `{parent}`, less than the chunks' `size` of {size}"
            )));
        }
        Ok(())
    }
}
