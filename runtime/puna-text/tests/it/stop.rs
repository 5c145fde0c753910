//! Stop strings, against the plain way to find them.

use proptest::prelude::*;
use puna_text::StopMatcher;

use crate::{characters, pieces};

/// What comes before the stop string that is complete first, and whether one came.
fn naive(text: &str, stops: &[String]) -> (String, bool) {
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    for end in ends {
        let found = stops.iter().filter(|stop| !stop.is_empty() && text[..end].ends_with(stop.as_str()));
        if let Some(longest) = found.map(String::len).max() {
            return (text[..end - longest].to_owned(), true);
        }
    }
    (text.to_owned(), false)
}

fn matched(stops: &[String], pieces: &[&str]) -> (String, bool) {
    let mut matcher = StopMatcher::new(stops.iter().cloned());
    let mut given: String = pieces.iter().map(|piece| matcher.push(piece)).collect();
    given.push_str(&matcher.finish());
    (given, matcher.stopped())
}

#[test]
fn a_table() {
    for (text, stops, given, stopped) in [
        ("Hello END there", vec!["END"], "Hello ", true),
        ("Hello EN", vec!["END"], "Hello EN", false),
        ("EENDND", vec!["END"], "E", true),
        ("abcd", vec!["abcd", "bc"], "a", true),
        ("abcd", vec!["bc", "abcd"], "a", true),
        ("xab", vec!["ab", "b"], "x", true),
        ("aaab", vec!["aab"], "a", true),
        ("Zür ich", vec!["ür"], "Z", true),
        ("abab", vec!["bb", "aba", "ab"], "", true),
        ("bbabb", vec!["babba", "abb"], "bb", true),
        ("a", vec![""], "a", false),
        ("", vec!["a"], "", false),
    ] {
        let stops: Vec<String> = stops.into_iter().map(str::to_owned).collect();
        assert_eq!(naive(text, &stops), (given.to_owned(), stopped), "the table itself: {text}");
        assert_eq!(matched(&stops, &[text]), (given.to_owned(), stopped), "{text}");
    }
}

proptest! {
    #[test]
    fn any_pieces_give_what_the_whole_gives(
        text in "[aü]{0,24}",
        stops in prop::collection::vec("[aü]{0,6}", 0..4),
        cuts in prop::collection::vec(0usize..8, 0..8),
    ) {
        let whole = naive(&text, &stops);
        prop_assert_eq!(matched(&stops, &[&text]), whole.clone());
        prop_assert_eq!(matched(&stops, &pieces(&text, &cuts)), whole.clone());
        prop_assert_eq!(matched(&stops, &characters(&text)), whole);
    }

    /// Nothing that can still become a stop string is given, and nothing else is kept.
    #[test]
    fn as_much_as_possible_is_given_at_once(text in "[ab]{0,12}", stop in "[ab]{1,4}") {
        let mut matcher = StopMatcher::new([stop.clone()]);
        let given = matcher.push(&text);
        if !matcher.stopped() {
            let kept = &text[given.len()..];
            prop_assert!(stop.starts_with(kept));
            let longest = (0..stop.len()).filter(|length| text.ends_with(&stop[..*length])).max();
            prop_assert_eq!(Some(kept.len()), longest);
        }
    }
}
