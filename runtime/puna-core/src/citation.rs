use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{Citation, ToolResult};

/// Looks at what an answer says of the sources that it was given.
pub trait AnswerCheck: Send + Sync {
    /// What it finds of an answer; none where the answer and what tools gave have nothing to do with sources. `turn` has the
    /// results of the turn's calls, `before` those of the turns before, both oldest first.
    fn check(&self, answer: &str, turn: &[&ToolResult], before: &[&ToolResult]) -> Option<CitationCheck>;
}

/// What an answer cites.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CitationCheck {
    /// Every `[n]`, in order.
    pub markers: Vec<Marker>,
    /// Every quotation, in order.
    pub quotes: Vec<Quote>,
    /// How many sentences have letters and cite nothing.
    pub uncited_sentences: usize,
}

/// A `[n]` in an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The number.
    pub number: usize,
    /// Where it stands in the answer, in bytes.
    pub span: Range<usize>,
    /// The document of the source with this number; none where there is no such source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
}

/// A quotation in an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quote {
    /// Its words.
    pub text: String,
    /// Where they stand in the answer, in bytes, without the marks around them.
    pub span: Range<usize>,
    /// Whether its words stand in a source.
    pub verdict: Verdict,
}

/// What a quotation is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    /// It stands in a source that is cited behind it or in its sentence, or, where none is, in one of them.
    Found {
        /// The source's number.
        source: usize,
        /// The document, the place within it, and its words there.
        citation: Citation,
    },
    /// It stands in another source than the one that is cited.
    Misattributed {
        /// The number of the source that has it.
        source: usize,
    },
    /// It stands in none.
    NotFound,
}

impl CitationCheck {
    /// Whether every marker is a source and every quotation stands where it says.
    pub fn holds(&self) -> bool {
        self.markers.iter().all(|marker| marker.document.is_some())
            && self.quotes.iter().all(|quote| matches!(quote.verdict, Verdict::Found { .. }))
    }
}
