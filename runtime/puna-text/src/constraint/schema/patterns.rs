//! Regular expressions in schemas.

use llguidance::{
    derivre::{RegexAst, RegexBuilder},
    regex_to_lark,
};
use puna_core::Result;

use super::{MAX_PATTERN_BYTES, exhausted};

/// What finding out whether two patterns share a text may cost, in the engine's units: about a millisecond.
const DISJOINT_FUEL: u64 = 10_000;

/// Refuses a pattern that is too long or too deep.
pub(super) fn check(pattern: &str, at: &str) -> Result<()> {
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(exhausted(format!(
            "`{at}` in the schema has {} bytes; {MAX_PATTERN_BYTES} are taken",
            pattern.len()
        )));
    }
    super::super::check_source(&format!("pattern at `{at}`"), pattern)
}

/// Whether the engine reads a pattern: it has no lookaround and no back references.
pub(super) fn is_read(pattern: &str) -> bool {
    RegexBuilder::new().mk(&search(pattern)).is_ok()
}

/// Whether no text matches two of the patterns, as far as is easily found out.
pub(super) fn are_disjoint<'a>(patterns: impl Iterator<Item = &'a String>) -> bool {
    let patterns: Vec<RegexAst> = patterns.map(|pattern| search(pattern)).collect();
    patterns.iter().enumerate().all(|(index, one)| {
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
