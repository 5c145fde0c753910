//! Guesses of what comes next, from what was there before.

/// The longest run of tokens that is looked up: three name a place in most texts.
const LONGEST: usize = 3;

/// The shortest: one token alone says little of what follows it.
const SHORTEST: usize = 2;

/// How far back is looked: bounds the time of a step.
const WINDOW: usize = 16_384;

/// At most `count` tokens that followed the last tokens where they stood before, latest first (prompt lookup
/// decoding: Saxena, 2023). Empty where they never stood before.
pub(crate) fn draft(tokens: &[u32], count: usize) -> &[u32] {
    let tokens = &tokens[tokens.len().saturating_sub(WINDOW)..];
    for length in (SHORTEST..=LONGEST).rev() {
        let Some(start) = tokens.len().checked_sub(length) else { continue };
        let wanted = &tokens[start..];
        let found = tokens[..tokens.len() - 1].windows(length).rposition(|window| window == wanted);
        if let Some(found) = found {
            let next = found + length;
            return &tokens[next..tokens.len().min(next + count)];
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::draft;

    #[track_caller]
    fn check(tokens: &[u32], count: usize, expected: &[u32]) {
        assert_eq!(draft(tokens, count), expected);
    }

    #[test]
    fn what_followed_before_is_guessed() {
        check(&[1, 2, 3, 4, 5, 1, 2, 3], 2, &[4, 5]);
        check(&[1, 2, 3, 4, 5, 1, 2, 3], 9, &[4, 5, 1, 2, 3]);
        // Two tokens where three were never there; the latest place of several.
        check(&[1, 2, 3, 1, 2, 4, 9, 1, 2], 1, &[4]);
        check(&[1, 2, 3, 9, 1, 2], 1, &[3]);
        // A run that repeats goes on.
        check(&[7, 7, 7, 7], 3, &[7]);
        for tokens in [&[][..], &[1], &[1, 2], &[1, 2, 3, 4], &[1, 2, 2]] {
            check(tokens, 4, &[]);
        }
    }
}
