//! Numbers that are exact as long as they can be.

use std::fmt;

use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};
use puna_plugin::{Error, ErrorKind};

/// Most bits of a numerator or denominator: about 5,000 digits, which a page still holds.
pub const MAX_BITS: u64 = 16_384;

/// Most digits behind the point that are printed in full.
const MAX_DECIMALS: usize = 60;

/// Significant digits of a result whose decimals do not end.
const SIGNIFICANT: usize = 20;

/// Largest number whose factorial is taken: beyond it the result is over [`MAX_BITS`].
const MAX_FACTORIAL: u32 = 1500;

/// A number, and whether it is exact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number {
    /// Its value.
    pub value: BigRational,
    /// False once a root that is not a fraction was taken.
    pub exact: bool,
}

impl Number {
    /// An exact number.
    pub fn exact(value: BigRational) -> Self {
        Self { value, exact: true }
    }

    /// An exact whole number.
    pub fn whole(value: impl Into<BigInt>) -> Self {
        Self::exact(BigRational::from_integer(value.into()))
    }

    /// A result of an operation on two numbers, within the bounds.
    ///
    /// # Errors
    /// Too-large when it has more than [`MAX_BITS`].
    pub fn combine(
        self,
        other: &Self,
        operation: impl FnOnce(BigRational, &BigRational) -> BigRational,
    ) -> Result<Self, Error> {
        let exact = self.exact && other.exact;
        Self { value: operation(self.value, &other.value), exact }.bounded()
    }

    /// The quotient.
    ///
    /// # Errors
    /// Invalid-input for a division by zero.
    pub fn divide(self, other: &Self) -> Result<Self, Error> {
        if other.value.is_zero() {
            return Err(Error::invalid_input("division by zero"));
        }
        self.combine(other, |a, b| a / b)
    }

    /// The remainder, with the divisor's sign.
    ///
    /// # Errors
    /// Invalid-input for a division by zero.
    pub fn modulo(self, other: &Self) -> Result<Self, Error> {
        if other.value.is_zero() {
            return Err(Error::invalid_input("division by zero"));
        }
        self.combine(other, |a, b| &a - b * (&a / b).floor())
    }

    /// The power. Exponents are whole numbers, or a half for the square root.
    ///
    /// # Errors
    /// Invalid-input for other exponents, for zero to a negative power; too-large for too large a result.
    pub fn power(self, exponent: &Self) -> Result<Self, Error> {
        if exponent.value == BigRational::new(1.into(), 2.into()) {
            return self.square_root();
        }
        if !exponent.value.is_integer() {
            return Err(Error::invalid_input(format!(
                "cannot take the power {exponent}: only whole numbers and 1/2 are known"
            )));
        }
        let too_large = || Error::new(ErrorKind::TooLarge, format!("a power of {exponent} is too large"));
        if self.value.is_one() || (self.value.is_zero() && exponent.value.is_positive()) {
            return Ok(self);
        }
        let exponent = exponent.value.to_integer().to_i32().ok_or_else(too_large)?;
        if self.value.is_zero() && exponent < 0 {
            return Err(Error::invalid_input("division by zero: zero to a negative power"));
        }
        let bits = self.value.numer().bits().max(self.value.denom().bits());
        if bits.saturating_mul(u64::from(exponent.unsigned_abs())) > MAX_BITS * 2 {
            return Err(too_large());
        }
        Self { value: self.value.pow(exponent), exact: self.exact }.bounded()
    }

    /// The square root: exact where it is a fraction.
    ///
    /// # Errors
    /// Invalid-input for a negative number.
    pub fn square_root(self) -> Result<Self, Error> {
        if self.value.is_negative() {
            return Err(Error::invalid_input(format!("no square root of the negative number {self}")));
        }
        let (numerator, denominator) = (self.value.numer().sqrt(), self.value.denom().sqrt());
        if &(&numerator * &numerator) == self.value.numer()
            && &(&denominator * &denominator) == self.value.denom()
        {
            return Ok(Self { value: BigRational::new(numerator, denominator), exact: self.exact });
        }
        // The root of `n / d` is that of `n * d` over `d`; shifted left so that the digits printed are right.
        let shift = 160u64;
        let scaled: BigInt = (self.value.numer() * self.value.denom()) << (2 * shift);
        let value = BigRational::new(scaled.sqrt(), self.value.denom() << shift);
        Self { value, exact: false }.bounded()
    }

    /// The factorial.
    ///
    /// # Errors
    /// Invalid-input for what is not a whole number of 0 or more; too-large for a large one.
    pub fn factorial(self) -> Result<Self, Error> {
        if !self.value.is_integer() || self.value.is_negative() {
            return Err(Error::invalid_input(format!(
                "no factorial of {self}: only of whole numbers from 0 on"
            )));
        }
        match self.value.to_integer().to_u32().filter(|n| *n <= MAX_FACTORIAL) {
            Some(n) => Ok(Self::whole((1..=n).fold(BigInt::one(), |product, k| product * k))),
            None => Err(Error::new(
                ErrorKind::TooLarge,
                format!("the factorial of {self} is too large; at most {MAX_FACTORIAL}"),
            )),
        }
    }

    fn bounded(self) -> Result<Self, Error> {
        if self.value.numer().bits().max(self.value.denom().bits()) > MAX_BITS {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("a number of more than {MAX_BITS} bits comes up on the way"),
            ));
        }
        Ok(self)
    }
}

/// A decimal number as JSON and people write it: `12`, `-0.5`, `.5`, `1,234.5`, `1_000`, `1e-3`.
///
/// # Errors
/// Invalid-input when it is not one; too-large when its exponent is.
pub fn parse(text: &str) -> Result<Number, Error> {
    let wrong = || Error::invalid_input(format!("`{text}` is not a number"));
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| wrong())?),
        None => (text, 0),
    };
    let (negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa),
    };
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: String = whole.chars().filter(|c| !matches!(c, ',' | '_')).chain(decimals.chars()).collect();
    if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_digit()) {
        return Err(wrong());
    }
    let scale = i64::from(exponent) - decimals.len() as i64;
    let too_large = || Error::new(ErrorKind::TooLarge, format!("`{text}` has too many digits"));
    // Four bits a digit, at most.
    if (digits.len() as u64 + scale.unsigned_abs()) * 4 > MAX_BITS {
        return Err(too_large());
    }
    let mut value = BigRational::from_integer(digits.parse().map_err(|_| wrong())?);
    let power = BigInt::from(10).pow(u32::try_from(scale.unsigned_abs()).map_err(|_| too_large())?);
    if scale < 0 {
        value /= power;
    } else {
        value *= power;
    }
    Ok(Number::exact(if negative { -value } else { value }))
}

impl fmt::Display for Number {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match decimals(self.value.denom()).filter(|_| self.exact) {
            Some(count) => formatter.write_str(&decimal(&self.value, count)),
            None => write!(formatter, "about {}", decimal(&self.value, significant(&self.value))),
        }
    }
}

/// How many decimals print `1 / denominator` in full, if few enough do.
fn decimals(denominator: &BigInt) -> Option<usize> {
    let (mut rest, mut twos, mut fives) = (denominator.clone(), 0, 0);
    for (prime, count) in [(2, &mut twos), (5, &mut fives)] {
        loop {
            let (quotient, remainder) = rest.div_rem(&BigInt::from(prime));
            if !remainder.is_zero() || *count > MAX_DECIMALS {
                break;
            }
            rest = quotient;
            *count += 1;
        }
    }
    let count: usize = twos.max(fives);
    (rest.is_one() && count <= MAX_DECIMALS).then_some(count)
}

/// How many decimals show `SIGNIFICANT` digits.
fn significant(value: &BigRational) -> usize {
    let magnitude = value.abs();
    let whole = magnitude.to_integer();
    if !whole.is_zero() {
        return SIGNIFICANT.saturating_sub(whole.to_string().len());
    }
    let mut leading = 0;
    let mut scaled = magnitude;
    while !scaled.is_zero() && scaled < BigRational::one() && leading < 5000 {
        scaled *= BigInt::from(10);
        leading += 1;
    }
    SIGNIFICANT + leading - 1
}

/// The value with so many decimals, the last one rounded half away from zero, without zeros at the end.
fn decimal(value: &BigRational, count: usize) -> String {
    let scale = BigInt::from(10).pow(count as u32);
    let scaled = (value.abs() * scale).round().to_integer().to_string();
    let padded = format!("{scaled:0>width$}", width = count + 1);
    let (whole, fraction) = padded.split_at(padded.len() - count);
    let fraction = fraction.trim_end_matches('0');
    let sign = if value.is_negative() && (whole != "0" || !fraction.is_empty()) { "-" } else { "" };
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}
