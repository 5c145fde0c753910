//! Dates and times through the public interface, as the host calls it.

use std::time::Duration;

use proptest::prelude::*;
use puna_plugin::{ErrorKind, clock};
use puna_plugin_datetime::{call, manifest};
use serde_json::{Value, json};

/// 2026-11-23 13:20:45 UTC.
const NOW: Duration = Duration::from_secs(1_795_440_045);

fn at_now(name: &str, arguments: Value) -> Result<Value, String> {
    let result = clock::at(NOW, || call(name, &arguments.to_string()));
    result.map(|text| serde_json::from_str(&text).unwrap()).map_err(|error| error.message)
}

#[test]
fn current_time() {
    for (place, expected) in [
        ("UTC", "2026-11-23 13:20 Monday UTC"),
        ("Tokyo", "2026-11-23 22:20 Monday Asia/Tokyo"),
        ("tokyo", "2026-11-23 22:20 Monday Asia/Tokyo"),
        ("New York", "2026-11-23 08:20 Monday America/New_York"),
        ("new_york", "2026-11-23 08:20 Monday America/New_York"),
        ("Auckland", "2026-11-24 02:20 Tuesday Pacific/Auckland"),
        ("Europe/Paris", "2026-11-23 14:20 Monday Europe/Paris"),
        ("San Francisco", "2026-11-23 05:20 Monday America/Los_Angeles"),
        ("Mumbai", "2026-11-23 18:50 Monday Asia/Kolkata"),
        ("UTC+9", "2026-11-23 22:20 Monday UTC+09"),
        ("GMT-3:30", "2026-11-23 09:50 Monday UTC-03:30"),
        ("EST", "2026-11-23 08:20 Monday America/New_York"),
    ] {
        let now = at_now("current_time", json!({ "place": place })).unwrap();
        let text =
            ["date", "time", "weekday", "zone"].map(|key| now[key].as_str().unwrap().to_owned()).join(" ");
        assert_eq!(text, expected, "{place}");
    }
    for place in ["Atlantis", "", "UTC+99", "UTC+", "../../etc/passwd"] {
        let message = at_now("current_time", json!({ "place": place })).unwrap_err();
        assert!(message.starts_with(&format!("unknown place `{place}`")), "{message}");
    }
}

#[test]
fn without_the_clock_the_time_is_denied_and_dates_are_not() {
    let error = call("current_time", r#"{"place": "Tokyo"}"#).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied);
    let error = call("weekday", r#"{"date": "today"}"#).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied);
    assert_eq!(call("weekday", r#"{"date": "2024-02-29"}"#).unwrap(), r#"{"weekday":"Thursday"}"#);
}

#[test]
fn weekdays() {
    for (date, expected) in [
        ("2024-02-29", "Thursday"),
        ("1 March 2024", "Friday"),
        ("March 1, 2024", "Friday"),
        ("March 1st 2024", "Friday"),
        ("the 1st of March 2024", "Friday"),
        ("1 mar 2024", "Friday"),
        ("2024/3/1", "Friday"),
        ("1.3.2024", "Friday"),
        ("13/3/2024", "Wednesday"),
        ("3/13/2024", "Wednesday"),
        ("4/4/2024", "Thursday"),
        ("today", "Monday"),
        ("tomorrow", "Tuesday"),
        ("yesterday", "Sunday"),
        ("1969-07-20", "Sunday"),
        ("1/3/2024", "`1/3/2024` can be two dates; write it like 2024-03-01"),
        ("2023-02-29", "`2023-02-29` is not a day of the calendar"),
        ("soon", "`soon` is not a date; write it like 2024-03-01"),
        ("", "`` is not a date; write it like 2024-03-01"),
    ] {
        let got = at_now("weekday", json!({ "date": date }));
        let got = got.map(|value| value["weekday"].as_str().unwrap().to_owned());
        assert_eq!(got.unwrap_or_else(|message| message), expected, "{date}");
    }
}

#[test]
fn days_between() {
    for (start, end, days) in [
        ("2024-02-01", "2024-03-01", 29),
        ("2023-02-01", "2023-03-01", 28),
        ("2024-03-01", "2024-02-01", -29),
        ("2024-01-01", "2024-01-01", 0),
        ("1 January 1900", "December 31, 2099", 73048),
        ("today", "2026-12-25", 32),
    ] {
        assert_eq!(
            at_now("days_between", json!({ "start": start, "end": end })).unwrap(),
            json!({ "days": days })
        );
    }
    let error = call("days_between", r#"{"start": "2024-01-01", "end": "never"}"#).unwrap_err();
    assert_eq!(error.path.as_deref(), Some("/end"));
}

#[test]
fn schemas_are_what_the_bundled_model_was_trained_on() {
    let shown: Vec<String> = manifest()
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
            r#"current_time | Tell the current date and time in a city or time zone. | {"type":"object","properties":{"place":{"type":"string"}},"required":["place"]}"#,
            r#"days_between | Count the days between two dates. | {"type":"object","properties":{"start":{"type":"string"},"end":{"type":"string"}},"required":["start","end"]}"#,
            r#"weekday | Tell which day of the week a date falls on. | {"type":"object","properties":{"date":{"type":"string"}},"required":["date"]}"#,
        ]
    );
}

proptest! {
    #[test]
    fn days_add_up(a in 0..60_000i64, b in 0..60_000i64) {
        let date = |days: i64| {
            let days = jiff::civil::date(1900, 1, 1).checked_add(jiff::Span::new().days(days)).unwrap();
            days.to_string()
        };
        let result = call("days_between", &json!({ "start": date(a), "end": date(b) }).to_string()).unwrap();
        prop_assert_eq!(result, json!({ "days": b - a }).to_string());
    }

    #[test]
    fn any_text_gets_an_answer(text in "\\PC{0,120}|[0-9/. -]{0,20}|(utc|gmt)[+-]?[0-9:]{0,8}") {
        for (name, key) in [("weekday", "date"), ("current_time", "place")] {
            if let Err(message) = at_now(name, json!({ (key): text })) {
                prop_assert!(!message.is_empty());
            }
        }
    }
}
