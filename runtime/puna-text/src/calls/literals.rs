//! Python's literals as JSON.

/// Writes a character as it stands in a JSON string.
pub(super) fn push_json_char(c: char, json: &mut String) {
    match c {
        '"' => json.push_str("\\\""),
        '\\' => json.push_str("\\\\"),
        '\n' => json.push_str("\\n"),
        '\r' => json.push_str("\\r"),
        '\t' => json.push_str("\\t"),
        c if c < ' ' => push_unit(u32::from(c), json),
        c => json.push(c),
    }
}

/// Writes a JSON string.
pub(super) fn push_json_str(text: &str, json: &mut String) {
    json.push('"');
    for c in text.chars() {
        push_json_char(c, json);
    }
    json.push('"');
}

fn push_unit(unit: u32, json: &mut String) {
    json.push_str(&format!("\\u{unit:04x}"));
}

/// A constant or number as JSON; none where Python has no such literal. JSON's own constants are taken too,
/// because models mix them up.
pub(super) fn scalar_json(word: &str) -> Option<String> {
    match word {
        "True" | "true" => Some("true".to_owned()),
        "False" | "false" => Some("false".to_owned()),
        "None" | "null" => Some("null".to_owned()),
        _ => number_json(word),
    }
}

fn number_json(word: &str) -> Option<String> {
    let (sign, digits) = match word.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", word.strip_prefix('+').unwrap_or(word)),
    };
    let digits = without_underscores(digits)?;
    let lower = digits.to_ascii_lowercase();
    for (prefix, base) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = lower.strip_prefix(prefix) {
            let plain = digits.chars().all(|c| c.is_ascii_alphanumeric());
            let value = u128::from_str_radix(digits, base).ok().filter(|_| plain)?;
            return Some(signed(sign, value.to_string()));
        }
    }
    let (mantissa, exponent) = match lower.split_once('e') {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (lower.as_str(), None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let decimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let some_digit = whole.len() + fraction.map_or(0, str::len) > 0;
    if !decimal(whole) || !decimal(fraction.unwrap_or_default()) || !some_digit {
        return None;
    }
    let short = whole.trim_start_matches('0');
    let integer = fraction.is_none() && exponent.is_none();
    if integer {
        // Python refuses `007`, which was an octal number once.
        let octal = !short.is_empty() && short.len() < whole.len();
        return (!octal).then(|| signed(sign, if short.is_empty() { "0" } else { short }.to_owned()));
    }
    let mut json = format!("{sign}{}", if short.is_empty() { "0" } else { short });
    if let Some(fraction) = fraction {
        json.push('.');
        json.push_str(if fraction.is_empty() { "0" } else { fraction });
    }
    if let Some(exponent) = exponent {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        if digits.is_empty() || !decimal(digits) {
            return None;
        }
        json.push('e');
        json.push_str(exponent);
    }
    Some(json)
}

/// An integer with its sign: there is no `-0` among Python's integers.
fn signed(sign: &str, digits: String) -> String {
    if digits == "0" { digits } else { format!("{sign}{digits}") }
}

/// A number without the underscores that may stand between its digits.
fn without_underscores(digits: &str) -> Option<String> {
    let apart = digits.split('_').all(|part| !part.is_empty());
    (apart && digits.is_ascii()).then(|| digits.replace('_', ""))
}

/// A Python string, read as it comes and written as a JSON string.
#[derive(Debug)]
pub(super) struct PythonText {
    quote: char,
    raw: bool,
    place: Place,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// Behind one or two quotes that open it.
    Opening(usize),
    Inside {
        triple: bool,
        /// Quotes read that may close a triple one.
        quotes: usize,
    },
    /// Behind a backslash.
    Escape {
        triple: bool,
    },
    /// In a number of a base, of which so many digits may follow.
    Number {
        triple: bool,
        base: u32,
        left: u32,
        value: u32,
    },
    Complete,
}

impl PythonText {
    pub(super) fn open(quote: char, raw: bool, json: &mut String) -> Self {
        json.push('"');
        Self { quote, raw, place: Place::Opening(1) }
    }

    pub(super) fn is_complete(&self) -> bool {
        matches!(self.place, Place::Complete)
    }

    /// Takes a character; false where it stands behind the string.
    pub(super) fn take(&mut self, c: char, json: &mut String) -> Result<bool, String> {
        match self.place {
            Place::Opening(1) if c == self.quote => self.place = Place::Opening(2),
            Place::Opening(1) => return self.inside(c, false, 0, json),
            Place::Opening(_) if c == self.quote => self.place = Place::Inside { triple: true, quotes: 0 },
            Place::Opening(_) => {
                self.close(json);
                return Ok(false);
            }
            Place::Inside { triple, quotes } => return self.inside(c, triple, quotes, json),
            Place::Escape { triple } => self.escape(c, triple, json)?,
            Place::Number { triple, base, left, value } => match c.to_digit(base) {
                Some(digit) => self.number(triple, base, left - 1, value * base + digit, json)?,
                // An octal number has up to three digits.
                None if base == 8 => {
                    push_json_char(char_of(value)?, json);
                    return self.inside(c, triple, 0, json);
                }
                None => return Err(format!("an escape in a string needs {left} more digits; got `{c}`")),
            },
            Place::Complete => return Ok(false),
        }
        Ok(true)
    }

    fn inside(&mut self, c: char, triple: bool, quotes: usize, json: &mut String) -> Result<bool, String> {
        if c == self.quote {
            if !triple || quotes == 2 {
                self.close(json);
            } else {
                self.place = Place::Inside { triple, quotes: quotes + 1 };
            }
            return Ok(true);
        }
        for _ in 0..quotes {
            push_json_char(self.quote, json);
        }
        if c == '\\' {
            self.place = Place::Escape { triple };
        } else {
            push_json_char(c, json);
            self.place = Place::Inside { triple, quotes: 0 };
        }
        Ok(true)
    }

    fn escape(&mut self, c: char, triple: bool, json: &mut String) -> Result<(), String> {
        self.place = Place::Inside { triple, quotes: 0 };
        let plain = match c {
            _ if self.raw => {
                push_json_char('\\', json);
                c
            }
            // A line that goes on.
            '\n' => return Ok(()),
            '\\' | '\'' | '"' => c,
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '0'..='7' => return self.number(triple, 8, 2, c.to_digit(8).unwrap_or_default(), json),
            'x' => return self.number(triple, 16, 2, 0, json),
            'u' => return self.number(triple, 16, 4, 0, json),
            'U' => return self.number(triple, 16, 8, 0, json),
            'N' => return Err("names of characters in strings are not taken".to_owned()),
            // Python keeps the backslash of an escape that is none.
            c => {
                push_json_char('\\', json);
                c
            }
        };
        push_json_char(plain, json);
        Ok(())
    }

    fn number(
        &mut self,
        triple: bool,
        base: u32,
        left: u32,
        value: u32,
        json: &mut String,
    ) -> Result<(), String> {
        if left > 0 {
            self.place = Place::Number { triple, base, left, value };
            return Ok(());
        }
        self.place = Place::Inside { triple, quotes: 0 };
        // Two halves of a character are one, as in JSON; half a one is refused with the JSON.
        if (0xD800..0xE000).contains(&value) {
            push_unit(value, json);
        } else {
            push_json_char(char_of(value)?, json);
        }
        Ok(())
    }

    fn close(&mut self, json: &mut String) {
        json.push('"');
        self.place = Place::Complete;
    }
}

fn char_of(value: u32) -> Result<char, String> {
    char::from_u32(value).ok_or_else(|| format!("`{value:#x}` in a string is no character"))
}
