//! Regular expressions in schemas.

use llguidance::{
    derivre::{RegexAst, RegexBuilder},
    regex_to_lark,
};
use puna_core::Result;
use regex_syntax::hir::{Hir, HirKind};

use super::{super::check_source, MAX_PATTERN_BYTES, exhausted};

/// What finding out whether two patterns share a text may cost, in the engine's units: about a millisecond.
const DISJOINT_FUEL: u64 = 10_000;

/// Most patterns that are compared with each other.
const MAX_COMPARED: usize = 16;

/// Largest regular expression, each part counted as often as it may come: derivatives of larger ones take seconds.
const MAX_SIZE: u64 = 20_000;

/// Refuses a pattern that is too long, nested too deep or too large.
pub(super) fn check(pattern: &str, at: &str) -> Result<()> {
    let what = format!("pattern at `{at}` in the schema");
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(exhausted(format!(
            "the {what} has {} bytes; {MAX_PATTERN_BYTES} are taken",
            pattern.len()
        )));
    }
    check_source(&what, pattern)?;
    check_size(&what, pattern)
}

/// Refuses a regular expression whose counts multiply; one that cannot be read is none of this function's business.
pub(crate) fn check_size(what: &str, pattern: &str) -> Result<()> {
    let size = regex_syntax::parse(&regex_to_lark(pattern, "dw")).map_or(0, |parsed| size_of(&parsed));
    if size > MAX_SIZE {
        return Err(exhausted(format!(
            "the {what} stands for {size} characters and classes in a row; {MAX_SIZE} are taken, so lower its counts"
        )));
    }
    Ok(())
}

fn size_of(parsed: &Hir) -> u64 {
    match parsed.kind() {
        HirKind::Empty | HirKind::Look(_) => 0,
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Class(_) => 1,
        HirKind::Repetition(repetition) => {
            let count = u64::from(repetition.max.unwrap_or(repetition.min).max(1));
            size_of(&repetition.sub).saturating_mul(count)
        }
        HirKind::Capture(capture) => size_of(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().map(size_of).fold(0, u64::saturating_add)
        }
    }
}

/// Whether the engine reads a pattern: it has no lookaround and no back references.
pub(super) fn is_read(pattern: &str) -> bool {
    RegexBuilder::new().mk(&search(pattern)).is_ok()
}

/// Whether no text matches two of the patterns, as far as is easily found out.
pub(super) fn are_disjoint<'a>(patterns: impl Iterator<Item = &'a String>) -> bool {
    let patterns: Vec<RegexAst> = patterns.map(|pattern| search(pattern)).collect();
    patterns.len() <= MAX_COMPARED
        && patterns.iter().enumerate().all(|(index, one)| {
            patterns[index + 1..].iter().all(|other| {
                let mut builder = RegexBuilder::new();
                let both = RegexAst::And(vec![one.clone(), other.clone()]);
                builder
                    .mk(&both)
                    .and_then(|both| builder.to_regex_limited(both, DISJOINT_FUEL))
                    .is_ok_and(|mut both| both.always_empty())
            })
        })
}

/// A pattern as the engine reads it: found anywhere, with JavaScript's digits and words.
fn search(pattern: &str) -> RegexAst {
    RegexAst::SearchRegex(regex_to_lark(pattern, "dw"))
}
