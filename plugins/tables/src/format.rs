//! Formats of numbers, by Office Open XML Part 1, 18.8.30 and 18.8.31: numbers, dates and times as a spreadsheet shows them.
//!
//! Dates in the form of the reader's country are written as ISO 8601 has them. What a format cannot be read as here
//! (fractions, conditions) shows the number in full.

use std::{collections::HashMap, fmt::Write as _};

/// Longest format that is read: Excel's own limit.
const MAX_CODE_BYTES: usize = 255;

/// Most formats of a workbook: Excel's own limit.
const MAX_FORMATS: usize = 65_490;

/// Most digits after the point.
const MAX_DECIMALS: usize = 30;

/// The last day that Excel has, 9999-12-31.
const MAX_DAY: f64 = 2_958_466.0;

/// The formats of a workbook.
#[derive(Default)]
pub struct Formats {
    defined: HashMap<u32, Format>,
    /// By the number that a cell has.
    pub of_cells: Vec<Format>,
}

impl Formats {
    /// Takes a format of the workbook's own.
    pub fn define(&mut self, id: u32, code: &str) {
        if self.defined.len() < MAX_FORMATS {
            self.defined.insert(id, Format::of(code));
        }
    }

    /// The next of the cells' formats.
    pub fn add(&mut self, id: u32) {
        if self.of_cells.len() < MAX_FORMATS {
            let format = self.defined.get(&id).cloned();
            self.of_cells.push(format.unwrap_or_else(|| Format::of(built_in(id))));
        }
    }
}

/// How numbers are shown.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// As they are.
    General,
    /// By sections: of all, or of positive, negative and zero.
    Sections(Vec<Section>),
}

/// How numbers of a sign are shown.
#[derive(Clone, Debug, PartialEq)]
pub enum Section {
    General,
    Number(Number),
    Time(Vec<Piece>),
    Literal(String),
}

/// A number between literals.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Number {
    before: String,
    after: String,
    /// Digits at least before the point, at least after it, and at most after it.
    whole: usize,
    least: usize,
    most: usize,
    thousands: bool,
    /// The power of ten that it is multiplied with.
    scale: i32,
    exponent: bool,
}

/// A piece of a date or a time.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    Year(usize),
    Month(usize),
    Day(usize),
    Hour(usize),
    Minute(usize),
    Second(usize),
    /// Digits after the point of seconds.
    Fraction(usize),
    /// Hours, minutes or seconds in all.
    Elapsed(char, usize),
    Noon,
    Literal(String),
}

impl Format {
    /// The format of a code, as `#,##0.00`.
    pub fn of(code: &str) -> Self {
        if code.len() > MAX_CODE_BYTES || code.eq_ignore_ascii_case("general") || code.is_empty() {
            return Self::General;
        }
        let sections: Option<Vec<Section>> = sections(code).iter().take(3).map(Section::of).collect();
        sections.map_or(Self::General, Self::Sections)
    }

    /// The number as it is shown. Days are counted from 1900, or from 1904.
    pub fn show(&self, number: f64, from_1904: bool) -> String {
        let Self::Sections(sections) = self else { return general(number) };
        let (section, signed) = match sections.as_slice() {
            [_, negative, ..] if number < 0.0 => (negative, false),
            [_, _, zero] if number == 0.0 => (zero, false),
            [first, ..] => (first, number < 0.0),
            [] => return general(number),
        };
        let sign = if signed { "-" } else { "" };
        match section {
            Section::General => general(if signed { number } else { number.abs() }),
            Section::Literal(text) => text.trim().to_owned(),
            Section::Number(format) => format.show(number.abs(), sign).unwrap_or_else(|| general(number)),
            Section::Time(pieces) => time(pieces, number, from_1904).unwrap_or_else(|| general(number)),
        }
    }
}

/// A code's characters, each with whether it is to be taken as it is.
type Characters = Vec<(char, bool)>;

/// The sections of a code. What is between brackets stays between them.
fn sections(code: &str) -> Vec<Characters> {
    let mut sections = vec![Characters::new()];
    let mut characters = code.chars();
    while let Some(character) = characters.next() {
        let section = sections.last_mut().expect("one at least");
        match character {
            ';' => sections.push(Characters::new()),
            '"' => section.extend(characters.by_ref().take_while(|it| *it != '"').map(|it| (it, true))),
            '\\' => section.extend(characters.next().map(|it| (it, true))),
            '_' => section.extend(characters.next().map(|_| (' ', true))),
            '*' => drop(characters.next()),
            character => section.push((character, false)),
        }
    }
    sections
}

impl Section {
    fn of(code: &Characters) -> Option<Self> {
        let bare: String = code.iter().filter(|(_, literal)| !literal).map(|(it, _)| *it).collect();
        if bare.eq_ignore_ascii_case("general") || bare == "@" {
            return Some(Self::General);
        }
        // What is in brackets: an elapsed time, a currency, or a colour, which is not shown.
        let mut pieces: Vec<(String, bool)> = Vec::new();
        let mut rest = code.iter();
        while let Some((character, literal)) = rest.next() {
            if *character == '[' && !literal {
                let inner: String = rest.by_ref().map(|(it, _)| *it).take_while(|it| *it != ']').collect();
                if let Some(currency) = inner.strip_prefix('$') {
                    pieces.push((currency.split('-').next().unwrap_or_default().to_owned(), true));
                } else if inner.starts_with(['<', '>', '=']) {
                    return None;
                } else if inner.chars().all(|it| "hHmMsS".contains(it)) && !inner.is_empty() {
                    pieces.push((format!("[{}]", inner.to_ascii_lowercase()), false));
                }
            } else {
                pieces.push((character.to_string(), *literal));
            }
        }
        let is_time = pieces.iter().any(|(piece, literal)| {
            !literal
                && (piece.len() > 1 || piece.contains(['y', 'Y', 'm', 'M', 'd', 'D', 'h', 'H', 's', 'S']))
        });
        if is_time { Some(Self::Time(time_pieces(&pieces))) } else { number(&pieces) }
    }
}

fn number(pieces: &[(String, bool)]) -> Option<Section> {
    let mut format = Number::default();
    let (mut digits, mut point, mut ended, mut commas) = (false, false, false, 0);
    let mut rest = pieces.iter().peekable();
    while let Some((piece, literal)) = rest.next() {
        let out = if digits { &mut format.after } else { &mut format.before };
        match (piece.as_str(), *literal) {
            ("0" | "#" | "?", false) => {
                // A number in parts, as of a telephone, or with two exponents.
                if ended && !format.exponent {
                    return None;
                }
                if !format.exponent {
                    digits = true;
                    let needed = piece == "0";
                    if point {
                        format.most += 1;
                        format.least = if needed { format.most } else { format.least };
                    } else {
                        format.whole += usize::from(needed || format.whole > 0);
                        format.thousands |= commas > 0;
                        commas = 0;
                    }
                }
            }
            (".", false) if !point => {
                point = true;
                digits = true;
            }
            (",", false) if digits => commas += 1,
            ("%", false) => {
                format.scale += 2;
                out.push('%');
                ended = digits;
            }
            ("E" | "e", false)
                if digits && rest.next_if(|(sign, _)| sign == "+" || sign == "-").is_some() =>
            {
                format.exponent = true;
            }
            ("/", false) | ("@", false) => return None,
            (text, _) => {
                out.push_str(text);
                ended = digits;
            }
        }
    }
    format.scale -= 3 * commas;
    if !digits {
        return Some(Section::Literal(format.before));
    }
    (format.most <= MAX_DECIMALS && format.whole <= MAX_DECIMALS).then_some(Section::Number(format))
}

impl Number {
    fn show(&self, number: f64, sign: &str) -> Option<String> {
        let number = number * 10_f64.powi(self.scale);
        if number >= 1e21 {
            return None;
        }
        let mut exponent = 0_i32;
        let mut value = number;
        if self.exponent && number > 0.0 {
            let shown = format!("{number:.*e}", self.most);
            let (digits, power) = shown.split_once('e')?;
            (value, exponent) = (digits.parse().ok()?, power.parse().ok()?);
        }
        let shown = format!("{:.*}", self.most, rounded(value, self.most));
        let (whole, decimals) = shown.split_once('.').unwrap_or((&shown, ""));
        let least = self.least.min(decimals.len());
        let decimals = &decimals[..least.max(decimals.trim_end_matches('0').len())];
        let whole = format!("{:0>1$}", whole.trim_start_matches('0'), self.whole);
        let mut text = String::new();
        for (index, digit) in whole.chars().enumerate() {
            if self.thousands && index > 0 && (whole.len() - index) % 3 == 0 {
                text.push(',');
            }
            text.push(digit);
        }
        if !decimals.is_empty() {
            text = format!("{text}.{decimals}");
        }
        if text.is_empty() {
            text.push('0');
        }
        if self.exponent {
            let sign = if exponent < 0 { '-' } else { '+' };
            let _ = write!(text, "E{sign}{:02}", exponent.abs());
        }
        let is_zero = !text.contains(|c: char| ('1'..='9').contains(&c));
        let sign = if is_zero { "" } else { sign };
        Some(format!("{sign}{}{text}{}", self.before, self.after).trim().to_owned())
    }
}

/// A half goes up, as spreadsheets have it, where the number as it is written ends in one.
fn rounded(value: f64, decimals: usize) -> f64 {
    let shown = value.to_string();
    match shown.split_once('.') {
        Some((_, fraction)) if fraction.len() == decimals + 1 && fraction.ends_with('5') => {
            value + 10_f64.powi(-i32::try_from(decimals).unwrap_or(0) - 2)
        }
        _ => value,
    }
}

/// At most fifteen digits, which is all that a spreadsheet keeps.
fn general(number: f64) -> String {
    let number: f64 = format!("{number:.14e}").parse().unwrap_or(number);
    if number == 0.0 {
        return "0".to_owned();
    }
    if (1e-9..1e21).contains(&number.abs()) {
        number.to_string()
    } else {
        format!("{number:e}").replace('e', "E")
    }
}

fn time_pieces(code: &[(String, bool)]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut at = 0;
    while let Some((piece, literal)) = code.get(at) {
        let letter = piece.chars().next().unwrap_or(' ').to_ascii_lowercase();
        let same = |(other, literal): &&(String, bool)| !literal && other.eq_ignore_ascii_case(piece);
        let run = code[at..].iter().take_while(same).count().max(1);
        let text = |length: usize| -> String {
            code[at..].iter().take(length).map(|(piece, _)| piece.to_ascii_lowercase()).collect()
        };
        let (piece, length) = match letter {
            _ if *literal => (Piece::Literal(piece.clone()), 1),
            '[' => {
                let unit = piece.chars().nth(1).unwrap_or('h');
                (Piece::Elapsed(unit, piece.chars().count() - 2), 1)
            }
            'y' | 'e' => (Piece::Year(run), run),
            'd' => (Piece::Day(run), run),
            'h' => (Piece::Hour(run), run),
            's' => (Piece::Second(run), run),
            'm' => {
                let after_hours = pieces.iter().rev().find(|it| !matches!(it, Piece::Literal(_)));
                let after_hours = matches!(after_hours, Some(Piece::Hour(_) | Piece::Elapsed('h', _)));
                let mut next = code[at + run..].iter().filter(|(_, literal)| !literal);
                let next = next.find(|(piece, _)| piece.starts_with(|c: char| c.is_alphabetic() || c == '['));
                let before_seconds =
                    next.is_some_and(|(piece, _)| matches!(piece.as_str(), "s" | "S" | "[s]" | "[ss]"));
                if after_hours || before_seconds {
                    (Piece::Minute(run), run)
                } else {
                    (Piece::Month(run), run)
                }
            }
            'a' if text(5) == "am/pm" => (Piece::Noon, 5),
            'a' if text(3) == "a/p" => (Piece::Noon, 3),
            '.' => {
                let zeros = code[at + 1..].iter().take_while(|(it, literal)| !literal && it == "0").count();
                (
                    if zeros > 0 { Piece::Fraction(zeros.min(3)) } else { Piece::Literal(".".into()) },
                    1 + zeros,
                )
            }
            '@' => (Piece::Literal(String::new()), 1),
            _ => (Piece::Literal(piece.clone()), 1),
        };
        pieces.push(piece);
        at += length;
    }
    pieces
}

fn time(pieces: &[Piece], serial: f64, from_1904: bool) -> Option<String> {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    const DAYS: [&str; 7] = ["Saturday", "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday"];
    if !(0.0..MAX_DAY).contains(&serial) {
        return None;
    }
    let fraction =
        pieces.iter().find_map(|it| if let Piece::Fraction(digits) = it { Some(*digits) } else { None });
    // In thousandths of seconds, rounded to what is shown.
    let unit = 10_f64.powi(3 - i32::try_from(fraction.unwrap_or(0)).unwrap_or(0));
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the days that Excel has"
    )]
    let all = ((serial * 86_400_000.0 / unit).round() * unit) as u64;
    let (day, of_day) = (all / 86_400_000, all % 86_400_000);
    let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1_000 % 60);
    let (year, month, of_month) = date(day, from_1904);
    let noon = pieces.contains(&Piece::Noon);
    let mut text = String::new();
    for piece in pieces {
        let _ = match piece {
            Piece::Year(1 | 2) => write!(text, "{:02}", year % 100),
            Piece::Year(_) => write!(text, "{year:04}"),
            Piece::Month(1) => write!(text, "{month}"),
            Piece::Month(2) => write!(text, "{month:02}"),
            Piece::Month(3) => write!(text, "{}", &MONTHS[month - 1][..3]),
            Piece::Month(5) => write!(text, "{}", &MONTHS[month - 1][..1]),
            Piece::Month(_) => write!(text, "{}", MONTHS[month - 1]),
            Piece::Day(1) => write!(text, "{of_month}"),
            Piece::Day(2) => write!(text, "{of_month:02}"),
            Piece::Day(length) => {
                // Of 1904's days the first was a Friday; of 1900's, as Excel has it, a Sunday.
                let day = DAYS[usize::try_from(day + if from_1904 { 6 } else { 0 }).unwrap_or(0) % 7];
                write!(text, "{}", if *length == 3 { &day[..3] } else { day })
            }
            Piece::Hour(length) => {
                let hour = if noon { (hour + 11) % 12 + 1 } else { hour };
                write!(text, "{hour:0length$}", length = (*length).min(2))
            }
            Piece::Minute(length) => write!(text, "{minute:0length$}", length = (*length).min(2)),
            Piece::Second(length) => write!(text, "{second:0length$}", length = (*length).min(2)),
            Piece::Fraction(digits) => {
                write!(text, ".{}", &format!("{:03}", of_day % 1_000)[..*digits])
            }
            Piece::Elapsed(unit, length) => {
                let whole = match unit {
                    'h' => all / 3_600_000,
                    'm' => all / 60_000,
                    _ => all / 1_000,
                };
                write!(text, "{whole:0length$}", length = (*length).min(20))
            }
            Piece::Noon => write!(text, "{}", if hour < 12 { "AM" } else { "PM" }),
            Piece::Literal(literal) => write!(text, "{literal}"),
        };
    }
    Some(text.trim().to_owned())
}

/// Year, month and day. The first of 1900 is day 1, and Excel has a 29th of February in that year.
fn date(day: u64, from_1904: bool) -> (u64, usize, u64) {
    if !from_1904 && day == 60 {
        return (1900, 2, 29);
    }
    if !from_1904 && day == 0 {
        return (1900, 1, 0);
    }
    // Days since 1 March of the year 0, by the calendar's cycles of 400 years; see Howard Hinnant, "chrono-Compatible
    // Low-Level Date Algorithms", `civil_from_days`.
    let days = match (from_1904, day) {
        (true, day) => day + 695_361,
        (false, day @ 61..) => day + 693_899,
        (false, day) => day + 693_900,
    };
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + u64::from(month <= 2), usize::try_from(month).unwrap_or(1), day)
}

/// The formats that need no definition. Those of a reader's country are written in the form of ISO 8601.
fn built_in(id: u32) -> &'static str {
    match id {
        1 => "0",
        2 => "0.00",
        3 => "#,##0",
        4 => "#,##0.00",
        5 | 6 => "$#,##0;($#,##0)",
        7 | 8 => "$#,##0.00;($#,##0.00)",
        9 => "0%",
        10 => "0.00%",
        11 => "0.00E+00",
        14 | 27..=31 | 36 | 50..=54 | 57 | 58 => "yyyy-mm-dd",
        15 => "d-mmm-yy",
        16 => "d-mmm",
        17 => "mmm-yy",
        18 => "h:mm AM/PM",
        19 => "h:mm:ss AM/PM",
        20 | 32 | 34 | 55 => "h:mm",
        21 | 33 | 35 | 56 => "h:mm:ss",
        22 => "yyyy-mm-dd h:mm",
        37 | 38 | 41 | 42 => "#,##0;(#,##0)",
        39 | 40 | 43 | 44 => "#,##0.00;(#,##0.00)",
        45 => "mm:ss",
        46 => "[h]:mm:ss",
        47 => "mm:ss.0",
        48 => "##0.0E+0",
        _ => "General",
    }
}
