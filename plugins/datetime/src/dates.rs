//! Dates as people write them.

use jiff::{
    ToSpan,
    civil::{Date, date},
};
use puna_plugin::{Error, clock};

/// Longest text taken for a date.
const MAX_DATE_BYTES: usize = 100;

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// A date: `2024-03-01`, `1 March 2024`, `March 1st, 2024`, `1 Mar 2024`, `2024/3/1`, `1.3.2024` (day first, as
/// the dots say), `today`, `tomorrow`, `yesterday` (these three in UTC, with the host's clock).
///
/// `1/3/2024` is refused where it can be two dates.
///
/// # Errors
/// Invalid-input for what is not a date; denied for `today` and the like without the grant `clock`.
pub(crate) fn parse(text: &str) -> Result<Date, Error> {
    let shown: String = text.chars().take(40).collect();
    let wrong = || Error::invalid_input(format!("`{shown}` is not a date; write it like 2024-03-01"));
    if text.len() > MAX_DATE_BYTES {
        return Err(wrong());
    }
    let text = text.trim().trim_end_matches(['?', '.', '!']).to_lowercase();
    let offset = match text.as_str() {
        "today" | "now" => Some(0),
        "tomorrow" => Some(1),
        "yesterday" => Some(-1),
        _ => None,
    };
    if let Some(offset) = offset {
        let days = (clock::now()?.as_secs() / 86_400) as i64 + offset;
        return date(1970, 1, 1).checked_add(days.days()).map_err(|_| wrong());
    }
    let parts: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || matches!(c, '-' | '/' | '.' | ','))
        .filter(|part| !part.is_empty() && !matches!(*part, "of" | "the"))
        .collect();
    let [a, b, c] = parts[..] else { return Err(wrong()) };
    let number = |part: &str| part.parse::<i16>().ok();
    let day = |part: &str| {
        let digits = part.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let suffix = &part[digits.len()..];
        digits.parse::<i8>().ok().filter(|_| matches!(suffix, "" | "st" | "nd" | "rd" | "th"))
    };
    let (year, month, day) = if let Some(month) = month(b) {
        // `1 March 2024`, `2024 March 1`.
        if c.len() >= 3 { (number(c), Some(month), day(a)) } else { (number(a), Some(month), day(c)) }
    } else if let Some(month) = month(a) {
        (number(c), Some(month), day(b))
    } else if a.len() == 4 {
        (number(a), b.parse().ok(), day(c))
    } else if c.len() == 4 {
        let (first, second) = (day(a).ok_or_else(wrong)?, day(b).ok_or_else(wrong)?);
        let dotted = text.contains('.');
        if !dotted && first <= 12 && second <= 12 && first != second {
            return Err(Error::invalid_input(format!(
                "`{shown}` can be two dates; write it like {c}-{second:02}-{first:02}"
            )));
        }
        if dotted || first > 12 {
            (number(c), Some(second), Some(first))
        } else {
            (number(c), Some(first), Some(second))
        }
    } else {
        return Err(wrong());
    };
    let (year, month, day) = year.zip(month).zip(day).map(|((y, m), d)| (y, m, d)).ok_or_else(wrong)?;
    Date::new(year, month, day)
        .map_err(|_| Error::invalid_input(format!("`{shown}` is not a day of the calendar")))
}

fn month(word: &str) -> Option<i8> {
    let fits = |name: &&str| *name == word || (word.len() >= 3 && name.starts_with(word));
    MONTHS.iter().position(fits).map(|at| at as i8 + 1)
}

/// Days from one date to another; negative where the second is earlier.
pub(crate) fn days_between(start: Date, end: Date) -> i64 {
    (end.duration_since(start).as_hours()) / 24
}
