//! A plugin for dates and times: the time in a city, days between dates, weekdays.
//!
//! It asks for the grant `clock` to tell the time; what it works out from dates alone needs no grant. The
//! IANA time-zone database is compiled in.

mod dates;
mod zones;

use jiff::civil::Weekday;
use puna_plugin::{Error, clock};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Deserialize, JsonSchema)]
struct CurrentTime {
    place: String,
}

#[derive(Serialize, JsonSchema)]
struct Now {
    date: String,
    time: String,
    weekday: String,
    zone: String,
}

fn current_time(arguments: CurrentTime) -> Result<Now, Error> {
    let (zone, name) = zones::find(&arguments.place).map_err(|error| error.at("/place"))?;
    let since = clock::now()?;
    let timestamp = jiff::Timestamp::UNIX_EPOCH
        .checked_add(jiff::SignedDuration::try_from(since).map_err(|_| wrong_clock())?)
        .map_err(|_| wrong_clock())?;
    let now = timestamp.to_zoned(zone);
    Ok(Now {
        date: now.date().to_string(),
        time: now.strftime("%H:%M").to_string(),
        weekday: weekday_name(now.weekday()).to_owned(),
        zone: name,
    })
}

fn wrong_clock() -> Error {
    Error::new(puna_plugin::ErrorKind::Internal, "the host's clock is beyond the years that are known")
}

#[derive(Deserialize, JsonSchema)]
struct DaysBetween {
    start: String,
    end: String,
}

#[derive(Serialize, JsonSchema)]
struct Days {
    days: i64,
}

fn days_between(arguments: DaysBetween) -> Result<Days, Error> {
    let start = dates::parse(&arguments.start).map_err(|error| error.at("/start"))?;
    let end = dates::parse(&arguments.end).map_err(|error| error.at("/end"))?;
    Ok(Days { days: dates::days_between(start, end) })
}

#[derive(Deserialize, JsonSchema)]
struct WeekdayOf {
    date: String,
}

#[derive(Serialize, JsonSchema)]
struct WeekdayIs {
    weekday: String,
}

fn weekday(arguments: WeekdayOf) -> Result<WeekdayIs, Error> {
    let date = dates::parse(&arguments.date).map_err(|error| error.at("/date"))?;
    Ok(WeekdayIs { weekday: weekday_name(date.weekday()).to_owned() })
}

fn weekday_name(weekday: Weekday) -> &'static str {
    match weekday {
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
        Weekday::Sunday => "Sunday",
    }
}

puna_plugin::tools! {
    "current_time": current_time => "Tell the current date and time in a city or time zone.",
    "days_between": days_between => "Count the days between two dates.",
    "weekday": weekday => "Tell which day of the week a date falls on.",
}
