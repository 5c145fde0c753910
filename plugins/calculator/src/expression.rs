//! Arithmetic as people write it: `12 * (3 + 4)`, `1234 times 5678`, `15% of 80`, `200 minus 15%`.
//!
//! ```text
//! sum     = term (("+" | "-") term)*
//! term    = factor (("*" | "/" | "mod" | "of" | "off") factor)*
//! factor  = ("-" | "+") factor | power
//! power   = postfix ("^" factor)?
//! postfix = primary ("%" | "!" | "squared" | "cubed")*
//! primary = number | "(" sum ")" | ("square root of" | "sqrt" | "half" | "twice" …) factor
//! ```
//!
//! A percentage added or taken away is of what stands before it, as on a pocket calculator: `200 - 15%` is 170.
//! `%` before another number is the remainder: `10 % 3` is 1.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::One;
use puna_plugin::{Error, ErrorKind};

use crate::number::{self, Number};

/// Longest expression, in bytes.
pub const MAX_EXPRESSION_BYTES: usize = 2000;

/// Deepest nesting of brackets and signs: bounds recursion.
const MAX_DEPTH: usize = 50;

/// The value of an expression.
///
/// # Errors
/// Invalid-input naming the place that cannot be read; too-large for what is over a bound.
pub fn evaluate(text: &str) -> Result<Number, Error> {
    if text.len() > MAX_EXPRESSION_BYTES {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!("the expression is longer than {MAX_EXPRESSION_BYTES} bytes"),
        ));
    }
    let tokens = tokenize(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0, depth: 0 };
    let value = parser.sum()?;
    match parser.peek() {
        None => Ok(value.number),
        Some(token) => Err(Error::invalid_input(format!("did not expect {} in `{text}`", token.show()))),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Number(Number),
    Plus,
    Minus,
    Times,
    Divide,
    Modulo,
    Power,
    Percent,
    Of,
    Off,
    Factorial,
    Exponent(u8),
    Root,
    /// `half`, `twice`: a number that multiplies what follows.
    Scale(Number),
    Open,
    Close,
}

impl Token {
    fn show(&self) -> String {
        match self {
            Token::Number(number) | Token::Scale(number) => format!("the number {number}"),
            Token::Open => "`(`".to_owned(),
            Token::Close => "`)`".to_owned(),
            other => format!("`{}`", format!("{other:?}").to_lowercase()),
        }
    }

    fn begins_operand(&self) -> bool {
        matches!(self, Token::Number(_) | Token::Open | Token::Root | Token::Scale(_))
    }
}

// ------------------------------------------------------------------ tokens

/// Words without a meaning of their own.
const FILLER: [&str; 22] = [
    "what",
    "is",
    "what's",
    "whats",
    "calculate",
    "compute",
    "evaluate",
    "work",
    "out",
    "how",
    "much",
    "the",
    "result",
    "equals",
    "equal",
    "please",
    "tell",
    "me",
    "a",
    "an",
    "value",
    "makes",
];

fn tokenize(text: &str) -> Result<Vec<Token>, Error> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = if c.is_ascii_digit()
            || (c == '.' && rest[1..].starts_with(|d: char| d.is_ascii_digit()))
        {
            let end = number_length(rest);
            tokens.push(Token::Number(number::parse(rest[..end].trim_end_matches(','))?));
            end
        } else if c.is_alphabetic() {
            let end =
                rest.find(|c: char| !(c.is_alphabetic() || matches!(c, '\'' | '-'))).unwrap_or(rest.len());
            words(&rest[..end], &mut tokens)?;
            end
        } else {
            symbol(c, rest, &mut tokens)?
        };
        rest = &rest[length..];
    }
    read_number_words(tokens)
}

fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut end = 0;
    loop {
        let inside = match bytes.get(end) {
            Some(b'0'..=b'9') => true,
            Some(b'_' | b'.') => digit(end + 1),
            // `1,234`: a comma between digits groups them by three.
            Some(b',') => digit(end + 1) && digit(end + 2) && digit(end + 3) && !digit(end + 4),
            _ => false,
        };
        if !inside {
            return end;
        }
        end += 1;
    }
}

fn symbol(c: char, rest: &str, tokens: &mut Vec<Token>) -> Result<usize, Error> {
    let (token, length) = match c {
        c if c.is_whitespace() => (None, c.len_utf8()),
        '+' => (Some(Token::Plus), 1),
        '-' | '−' | '–' => (Some(Token::Minus), c.len_utf8()),
        '*' if rest.starts_with("**") => (Some(Token::Power), 2),
        '*' | '×' | '·' | '⋅' => (Some(Token::Times), c.len_utf8()),
        '/' | '÷' | ':' => (Some(Token::Divide), c.len_utf8()),
        '^' => (Some(Token::Power), 1),
        '%' => (Some(Token::Percent), 1),
        '!' if rest.len() > 1
            || tokens.last().is_some_and(|token| matches!(token, Token::Number(_) | Token::Close)) =>
        {
            (Some(Token::Factorial), 1)
        }
        '(' | '[' => (Some(Token::Open), 1),
        ')' | ']' => (Some(Token::Close), 1),
        '²' => (Some(Token::Exponent(2)), c.len_utf8()),
        '³' => (Some(Token::Exponent(3)), c.len_utf8()),
        '√' => (Some(Token::Root), c.len_utf8()),
        '½' => (Some(Token::Number(fraction(1, 2))), c.len_utf8()),
        // Marks of the sentence around the sum.
        '?' | '=' | '.' | ',' | '!' | '"' | '\'' | '`' => (None, 1),
        _ => return Err(Error::invalid_input(format!("cannot read `{}`", c.escape_debug()))),
    };
    tokens.extend(token);
    Ok(length)
}

fn fraction(numerator: i64, denominator: i64) -> Number {
    Number::exact(BigRational::new(numerator.into(), denominator.into()))
}

/// A word of number words is kept as `Scale` of its value until [`read_number_words`] joins them.
fn words(word: &str, tokens: &mut Vec<Token>) -> Result<(), Error> {
    let word = word.to_lowercase();
    if number_word(&word).is_some() {
        tokens.push(Token::Scale(Number::whole(number_word(&word).unwrap_or_default())));
        return Ok(());
    }
    let token = match word.as_str() {
        // "square root of", "to the power of", "divided by": the word before already says it.
        "of" if matches!(tokens.last(), Some(Token::Root | Token::Power)) => return Ok(()),
        "by" | "to" | "square" => return Ok(()),
        "plus" | "add" | "added" | "and" => Token::Plus,
        "minus" | "less" | "subtract" => Token::Minus,
        "times" | "x" | "multiplied" | "multiply" => Token::Times,
        "divided" | "over" | "divide" | "per" => Token::Divide,
        "mod" | "modulo" => Token::Modulo,
        "power" => Token::Power,
        "percent" | "percentage" | "pct" => Token::Percent,
        "of" => Token::Of,
        "off" => Token::Off,
        "factorial" => Token::Factorial,
        "squared" => Token::Exponent(2),
        "cubed" => Token::Exponent(3),
        "sqrt" | "root" => Token::Root,
        "half" => Token::Number(fraction(1, 2)),
        "third" => Token::Number(fraction(1, 3)),
        "quarter" => Token::Number(fraction(1, 4)),
        "double" | "twice" => Token::Scale(Number::whole(-2)),
        "triple" | "thrice" => Token::Scale(Number::whole(-3)),
        "pi" => {
            return Err(Error::invalid_input(
                "`pi` has no exact value; give it as digits, for example 3.14159",
            ));
        }
        filler if FILLER.contains(&filler) => return Ok(()),
        // `twenty-five` and the like.
        compound if compound.contains('-') => {
            return compound
                .split('-')
                .filter(|part| !part.is_empty())
                .try_for_each(|part| words(part, tokens));
        }
        unknown => return Err(Error::invalid_input(format!("cannot read `{unknown}`"))),
    };
    tokens.push(token);
    Ok(())
}

fn number_word(word: &str) -> Option<i64> {
    const SMALL: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    const LARGE: [(&str, i64); 5] = [
        ("hundred", 100),
        ("thousand", 1000),
        ("million", 1_000_000),
        ("billion", 1_000_000_000),
        ("trillion", 1_000_000_000_000),
    ];
    let small = SMALL.iter().position(|known| *known == word).map(|at| at as i64);
    let tens = || TENS.iter().position(|known| *known == word).map(|at| (at as i64 + 2) * 10);
    let large = || LARGE.iter().find(|(known, _)| *known == word).map(|(_, value)| *value);
    small.or_else(tens).or_else(large)
}

/// Joins runs of number words (`two hundred and five thousand`) and numbers before a large one (`3 million`).
fn read_number_words(tokens: Vec<Token>) -> Result<Vec<Token>, Error> {
    let word = |token: Option<&Token>| match token {
        Some(Token::Scale(number)) if number.value >= BigRational::from_integer(0.into()) => {
            Some(number.value.to_integer())
        }
        _ => None,
    };
    let (mut out, mut at) = (Vec::new(), 0);
    let (hundred, thousand) = (BigInt::from(100), BigInt::from(1000));
    while at < tokens.len() {
        let large = |token: Option<&Token>| word(token).filter(|value| *value >= hundred);
        let Some(first) = word(tokens.get(at)) else {
            let mut token = tokens[at].clone();
            at += 1;
            if let Token::Number(number) = &mut token {
                while let Some(factor) = large(tokens.get(at)) {
                    *number = number.clone().combine(&Number::whole(factor), |a, b| a * b)?;
                    at += 1;
                }
            }
            // `twice` and `triple` were marked by their sign.
            if let Token::Scale(number) = &mut token {
                number.value = -number.value.clone();
            }
            out.push(token);
            continue;
        };
        let (mut total, mut current, mut next) = (BigInt::from(0), BigInt::from(0), Some(first));
        while let Some(value) = next {
            if value == hundred {
                current = current.max(BigInt::one()) * &value;
            } else if value >= thousand {
                total += current.max(BigInt::one()) * &value;
                current = BigInt::from(0);
            } else {
                current += value;
            }
            at += 1;
            let after_and =
                matches!(tokens.get(at), Some(Token::Plus)) && large(tokens.get(at - 1)).is_some();
            // "two hundred and five" is one number; "two and five" is a sum.
            if after_and && word(tokens.get(at + 1)).is_some_and(|value| value < hundred) {
                at += 1;
            }
            next = word(tokens.get(at));
        }
        out.push(Token::Number(Number::whole(total + current)));
    }
    Ok(out)
}

// ------------------------------------------------------------------ the grammar

/// A value, and whether it is a percentage that stands alone.
struct Operand {
    number: Number,
    percentage: bool,
}

impl From<Number> for Operand {
    fn from(number: Number) -> Self {
        Self { number, percentage: false }
    }
}

struct Parser<'t> {
    tokens: &'t [Token],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next_if(&mut self, wanted: impl FnOnce(&Token) -> bool) -> Option<Token> {
        let token = self.peek().filter(|token| wanted(token))?.clone();
        self.at += 1;
        Some(token)
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth >= MAX_DEPTH {
            return Err(Error::new(ErrorKind::TooLarge, format!("nested more than {MAX_DEPTH} levels deep")));
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    fn sum(&mut self) -> Result<Operand, Error> {
        let mut left = self.term()?;
        while let Some(operator) = self.next_if(|token| matches!(token, Token::Plus | Token::Minus)) {
            let right = self.term()?;
            let right = if right.percentage && !left.percentage {
                right.number.combine(&left.number, |a, b| a * b)?
            } else {
                right.number
            };
            let number = match operator {
                Token::Plus => left.number.combine(&right, |a, b| a + b)?,
                _ => left.number.combine(&right, |a, b| a - b)?,
            };
            left = Operand { number, percentage: false };
        }
        Ok(left)
    }

    fn term(&mut self) -> Result<Operand, Error> {
        let mut left = self.factor()?;
        loop {
            let modulo = matches!(self.peek(), Some(Token::Percent))
                && self.tokens.get(self.at + 1).is_some_and(Token::begins_operand);
            let Some(operator) = self.next_if(|token| {
                modulo
                    || matches!(token, Token::Times | Token::Divide | Token::Modulo | Token::Of | Token::Off)
            }) else {
                return Ok(left);
            };
            let right = self.factor()?.number;
            let number = match operator {
                Token::Times | Token::Of => left.number.combine(&right, |a, b| a * b)?,
                Token::Divide => left.number.divide(&right)?,
                // `20% off 50` leaves four fifths of 50.
                Token::Off => {
                    Number::whole(1).combine(&left.number, |a, b| a - b)?.combine(&right, |a, b| a * b)?
                }
                _ => left.number.modulo(&right)?,
            };
            left = number.into();
        }
    }

    fn factor(&mut self) -> Result<Operand, Error> {
        match self.next_if(|token| matches!(token, Token::Minus | Token::Plus)) {
            Some(Token::Minus) => {
                let operand = self.deeper(Self::factor)?;
                let number = Number { value: -operand.number.value, exact: operand.number.exact };
                Ok(Operand { number, ..operand })
            }
            Some(_) => self.deeper(Self::factor),
            None => self.power(),
        }
    }

    fn power(&mut self) -> Result<Operand, Error> {
        let base = self.postfix()?;
        if self.next_if(|token| *token == Token::Power).is_none() {
            return Ok(base);
        }
        let exponent = self.deeper(Self::factor)?;
        Ok(base.number.power(&exponent.number)?.into())
    }

    fn postfix(&mut self) -> Result<Operand, Error> {
        let mut operand: Operand = self.primary()?.into();
        loop {
            let remainder = self.tokens.get(self.at + 1).is_some_and(Token::begins_operand);
            let token = self.next_if(|token| match token {
                Token::Percent => !remainder,
                token => matches!(token, Token::Factorial | Token::Exponent(_)),
            });
            operand = match token {
                Some(Token::Percent) => {
                    Operand { number: operand.number.divide(&Number::whole(100))?, percentage: true }
                }
                Some(Token::Factorial) => operand.number.factorial()?.into(),
                Some(Token::Exponent(exponent)) => operand.number.power(&Number::whole(exponent))?.into(),
                _ => return Ok(operand),
            };
        }
    }

    fn primary(&mut self) -> Result<Number, Error> {
        let Some(token) = self.next_if(|_| true) else {
            return Err(Error::invalid_input("the expression ends where a number should stand"));
        };
        match token {
            Token::Number(number) => Ok(number),
            Token::Open => {
                let operand = self.deeper(Self::sum)?;
                match self.next_if(|token| *token == Token::Close) {
                    Some(_) => Ok(operand.number),
                    None => Err(Error::invalid_input("a `(` has no `)`")),
                }
            }
            Token::Root => self.deeper(Self::factor)?.number.square_root(),
            Token::Scale(scale) => {
                self.next_if(|token| *token == Token::Of);
                let number = self.deeper(Self::factor)?.number;
                number.combine(&scale, |a, b| a * b)
            }
            other => Err(Error::invalid_input(format!("expected a number, got {}", other.show()))),
        }
    }
}
