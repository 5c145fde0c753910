//! The calculator through its public interface, as the host calls it.

use std::fmt::Write;

use num_bigint::BigInt;
use num_rational::BigRational;
use proptest::prelude::*;
use puna_plugin_calculator::{call, expression::evaluate, manifest, number};

fn calculate(expression: &str) -> Result<String, String> {
    let arguments = serde_json::json!({ "expression": expression }).to_string();
    let result = call("calculate", &arguments).map_err(|error| error.message)?;
    let result: serde_json::Value = serde_json::from_str(&result).unwrap();
    Ok(result["value"].as_str().unwrap().to_owned())
}

fn convert(amount: &str, from: &str, to: &str) -> Result<String, String> {
    let arguments = format!(r#"{{"amount": {amount}, "from": "{from}", "to": "{to}"}}"#);
    let result = call("convert_units", &arguments).map_err(|error| error.message)?;
    let result: serde_json::Value = serde_json::from_str(&result).unwrap();
    assert_eq!(result["unit"], to);
    Ok(result["value"].as_str().unwrap().to_owned())
}

#[test]
fn expressions() {
    for (expression, expected) in [
        ("1234 times 5678", "7006652"),
        ("1234*5678", "7006652"),
        ("What is 1,234 x 5,678?", "7006652"),
        ("2 + 3 * 4", "14"),
        ("(2 + 3) * 4", "20"),
        ("2 ^ 3 ^ 2", "512"),
        ("-2 ^ 2", "-4"),
        ("0.1 + 0.2", "0.3"),
        ("1 / 8", "0.125"),
        ("1 / 3", "about 0.33333333333333333333"),
        ("1 / 3 * 3", "1"),
        ("100 divided by 8", "12.5"),
        ("12.5 plus 7", "19.5"),
        ("15% of 80", "12"),
        ("15 percent of 80", "12"),
        ("200 minus 15%", "170"),
        ("200 + 10%", "220"),
        ("20% off 50", "40"),
        ("50%", "0.5"),
        ("10 % 3", "1"),
        ("10 mod 3", "1"),
        ("-7 mod 3", "2"),
        ("9 squared", "81"),
        ("2 to the power of 10", "1024"),
        ("2 cubed", "8"),
        ("the square root of 144", "12"),
        ("sqrt(2)", "about 1.4142135623730950488"),
        ("sqrt(2) * sqrt(2)", "about 2"),
        ("half of 10", "5"),
        ("twice 21", "42"),
        ("double of 4", "8"),
        ("5!", "120"),
        ("twenty-five times four", "100"),
        ("two hundred and five plus one thousand", "1205"),
        ("3 million divided by 4", "750000"),
        ("two and three", "5"),
        ("99999999999999999999 * 99999999999999999999", "9999999999999999999800000000000000000001"),
        ("2^200", "1606938044258990275541962092341162602522202993782792835301376"),
        ("6 ÷ 4 × 2 − 1", "2"),
        ("7 multiplied by 6", "42"),
        ("90 over 4", "22.5"),
        ("1e3", "cannot read `e`"),
        ("1 / 0", "division by zero"),
        ("5 mod 0", "division by zero"),
        ("", "the expression ends where a number should stand"),
        ("2 +", "the expression ends where a number should stand"),
        ("(2 + 3", "a `(` has no `)`"),
        ("2 3", "did not expect the number 3 in `2 3`"),
        ("bananas", "cannot read `bananas`"),
        ("9^9^9^9", "a power of 387420489 is too large"),
        ("sqrt(-1)", "no square root of the negative number -1"),
        ("2^0.3", "cannot take the power 0.3: only whole numbers and 1/2 are known"),
        ("3000!", "the factorial of 3000 is too large; at most 1500"),
    ] {
        assert_eq!(calculate(expression).unwrap_or_else(|message| message), expected, "{expression}");
    }
}

#[test]
fn units() {
    for (amount, from, to, expected) in [
        ("10", "miles", "kilometers", "16.09344"),
        ("3", "meters", "feet", "about 9.8425196850393700787"),
        ("100", "F", "C", "about 37.777777777777777778"),
        ("212", "fahrenheit", "celsius", "100"),
        ("0", "C", "K", "273.15"),
        ("-40", "C", "F", "-40"),
        ("1", "GiB", "MiB", "1024"),
        ("8", "Mb", "MB", "1"),
        ("2.5", "hours", "minutes", "150"),
        ("1", "Miles", "KM", "1.609344"),
        ("36", "km/h", "m/s", "10"),
        ("1e3", "g", "kg", "1"),
        ("1", "bananas", "kg", "unknown unit `bananas`"),
        ("1", "kilometrs", "m", "unknown unit `kilometrs`; did you mean `kilometers`?"),
        ("1", "kg", "m", "cannot convert `kg` (mass) to `m` (length)"),
    ] {
        assert_eq!(
            convert(amount, from, to).unwrap_or_else(|message| message),
            expected,
            "{amount} {from} in {to}"
        );
    }
}

#[test]
fn schemas_are_what_the_bundled_model_was_trained_on() {
    let tools = manifest();
    let shown: Vec<String> = tools
        .iter()
        .map(|tool| {
            format!(
                "{} | {} | {}",
                tool.name,
                tool.description,
                serde_json::to_string(&tool.parameters).unwrap()
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            r#"calculate | Work out an arithmetic expression exactly. | {"type":"object","properties":{"expression":{"description":"The expression in digits or words, for example 12 times 3 or 15% of 80","type":"string"}},"required":["expression"]}"#,
            r#"convert_units | Convert an amount from one unit to another. | {"type":"object","properties":{"amount":{"type":"number"},"from":{"type":"string"},"to":{"type":"string"}},"required":["amount","from","to"]}"#,
        ]
    );
}

#[test]
fn errors_point_at_the_argument() {
    let error = call("calculate", r#"{"expression": "1/0"}"#).unwrap_err();
    assert_eq!(error.path.as_deref(), Some("/expression"));
    let error = call("convert_units", r#"{"amount": 1, "from": "kg", "to": "nothing"}"#).unwrap_err();
    assert_eq!(error.path.as_deref(), Some("/to"));
}

/// A sum with its value, worked out apart from the parser.
#[derive(Clone, Debug)]
enum Tree {
    Leaf(i32, u32),
    Node(Box<Tree>, usize, Box<Tree>),
}

const OPERATORS: [[&str; 3]; 4] =
    [["+", "plus", " + "], ["-", "minus", "−"], ["*", "times", "×"], ["/", "divided by", "over"]];

impl Tree {
    fn value(&self) -> Option<BigRational> {
        match self {
            Tree::Leaf(digits, scale) => {
                Some(BigRational::new(BigInt::from(*digits), BigInt::from(10).pow(*scale)))
            }
            Tree::Node(left, operator, right) => {
                let (left, right) = (left.value()?, right.value()?);
                match operator {
                    0 => Some(left + right),
                    1 => Some(left - right),
                    2 => Some(left * right),
                    _ if right == BigRational::from_integer(0.into()) => None,
                    _ => Some(left / right),
                }
            }
        }
    }

    fn print(&self, spelling: usize, out: &mut String) {
        match self {
            Tree::Leaf(digits, scale) => {
                let sign = if *digits < 0 { "-" } else { "" };
                let padded = format!("{:0>width$}", digits.unsigned_abs(), width = *scale as usize + 1);
                let (whole, decimals) = padded.split_at(padded.len() - *scale as usize);
                let point = if *scale > 0 { "." } else { "" };
                write!(out, "({sign}{whole}{point}{decimals})").unwrap();
            }
            Tree::Node(left, operator, right) => {
                out.push('(');
                left.print(spelling, out);
                write!(out, " {} ", OPERATORS[*operator][spelling]).unwrap();
                right.print(spelling, out);
                out.push(')');
            }
        }
    }
}

fn trees() -> impl Strategy<Value = Tree> {
    (-9999..9999i32, 0..4u32).prop_map(|(digits, scale)| Tree::Leaf(digits, scale)).prop_recursive(
        5,
        24,
        2,
        |inner| {
            (inner.clone(), 0..4usize, inner)
                .prop_map(|(left, operator, right)| Tree::Node(left.into(), operator, right.into()))
        },
    )
}

proptest! {
    #[test]
    fn trees_have_their_value_in_every_spelling(tree in trees(), spelling in 0..3usize) {
        let mut text = String::new();
        tree.print(spelling, &mut text);
        let got = evaluate(&text);
        match tree.value() {
            Some(value) => prop_assert_eq!(got.unwrap().value, value, "{}", text),
            None => prop_assert_eq!(got.unwrap_err().message, "division by zero"),
        }
    }

    #[test]
    fn decimals_print_as_they_were_read(digits in any::<i64>(), scale in 0..18usize) {
        let padded = format!("{:0>width$}", digits.unsigned_abs(), width = scale + 1);
        let (whole, decimals) = padded.split_at(padded.len() - scale);
        let decimals = decimals.trim_end_matches('0');
        let sign = if digits < 0 { "-" } else { "" };
        let text = if decimals.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{decimals}") };
        let text = if text == "-0" { "0".to_owned() } else { text };
        prop_assert_eq!(number::parse(&text).unwrap().to_string(), text);
    }

    #[test]
    fn any_text_gets_an_answer(text in "\\PC{0,80}|[0-9+*/^%!().,x -]{0,200}|(sqrt|half of|two|hundred|million|percent|[0-9]{1,4}| ){0,20}") {
        // A value or an error: never a panic, and never long.
        match evaluate(&text) {
            Ok(value) => prop_assert!(!value.to_string().is_empty()),
            Err(error) => prop_assert!(!error.message.is_empty()),
        }
    }
}
