//! Time zones by the names people use: cities, countries with one zone, abbreviations, offsets.

use jiff::tz::{Offset, TimeZone};
use puna_plugin::Error;

/// Names that the database does not know, and its name for their zone.
#[rustfmt::skip]
const ALIASES: &[(&str, &str)] = &[
    ("abuja", "Africa/Lagos"), ("atlanta", "America/New_York"), ("austin", "America/Chicago"), ("bangalore", "Asia/Kolkata"),
    ("barcelona", "Europe/Madrid"), ("basel", "Europe/Zurich"), ("beijing", "Asia/Shanghai"), ("bengaluru", "Asia/Kolkata"),
    ("bern", "Europe/Zurich"), ("birmingham", "Europe/London"), ("bombay", "Asia/Kolkata"), ("bonn", "Europe/Berlin"),
    ("boston", "America/New_York"), ("brasilia", "America/Sao_Paulo"), ("busan", "Asia/Seoul"), ("calgary", "America/Edmonton"),
    ("california", "America/Los_Angeles"), ("canberra", "Australia/Sydney"), ("cape town", "Africa/Johannesburg"),
    ("chennai", "Asia/Kolkata"), ("cologne", "Europe/Berlin"), ("dallas", "America/Chicago"), ("delhi", "Asia/Kolkata"),
    ("dusseldorf", "Europe/Berlin"), ("edinburgh", "Europe/London"), ("egypt", "Africa/Cairo"), ("england", "Europe/London"),
    ("finland", "Europe/Helsinki"), ("florence", "Europe/Rome"), ("france", "Europe/Paris"), ("frankfurt", "Europe/Berlin"),
    ("geneva", "Europe/Zurich"), ("germany", "Europe/Berlin"), ("glasgow", "Europe/London"), ("greece", "Europe/Athens"),
    ("hamburg", "Europe/Berlin"), ("hanoi", "Asia/Ho_Chi_Minh"), ("hawaii", "Pacific/Honolulu"), ("houston", "America/Chicago"),
    ("hyderabad", "Asia/Kolkata"), ("iceland", "Atlantic/Reykjavik"), ("india", "Asia/Kolkata"), ("ireland", "Europe/Dublin"),
    ("islamabad", "Asia/Karachi"), ("israel", "Asia/Jerusalem"), ("italy", "Europe/Rome"), ("japan", "Asia/Tokyo"),
    ("kolkata", "Asia/Kolkata"), ("korea", "Asia/Seoul"), ("krakow", "Europe/Warsaw"), ("kyiv", "Europe/Kyiv"),
    ("kyoto", "Asia/Tokyo"), ("la paz", "America/La_Paz"), ("las vegas", "America/Los_Angeles"), ("leipzig", "Europe/Berlin"),
    ("lyon", "Europe/Paris"), ("manchester", "Europe/London"), ("marseille", "Europe/Paris"), ("miami", "America/New_York"),
    ("milan", "Europe/Rome"), ("minneapolis", "America/Chicago"), ("mumbai", "Asia/Kolkata"), ("munich", "Europe/Berlin"),
    ("nagoya", "Asia/Tokyo"), ("naples", "Europe/Rome"), ("netherlands", "Europe/Amsterdam"), ("new delhi", "Asia/Kolkata"),
    ("new york city", "America/New_York"), ("nyc", "America/New_York"), ("norway", "Europe/Oslo"), ("osaka", "Asia/Tokyo"),
    ("ottawa", "America/Toronto"), ("philadelphia", "America/New_York"), ("poland", "Europe/Warsaw"),
    ("portland", "America/Los_Angeles"), ("porto", "Europe/Lisbon"), ("quebec", "America/Toronto"), ("rio", "America/Sao_Paulo"),
    ("rio de janeiro", "America/Sao_Paulo"), ("rotterdam", "Europe/Amsterdam"), ("saint petersburg", "Europe/Moscow"),
    ("san antonio", "America/Chicago"), ("san diego", "America/Los_Angeles"), ("san francisco", "America/Los_Angeles"),
    ("seattle", "America/Los_Angeles"), ("seville", "Europe/Madrid"), ("shenzhen", "Asia/Shanghai"), ("south korea", "Asia/Seoul"),
    ("spain", "Europe/Madrid"), ("stuttgart", "Europe/Berlin"), ("sweden", "Europe/Stockholm"), ("switzerland", "Europe/Zurich"),
    ("tel aviv", "Asia/Jerusalem"), ("thailand", "Asia/Bangkok"), ("the hague", "Europe/Amsterdam"), ("turin", "Europe/Rome"),
    ("turkey", "Europe/Istanbul"), ("uk", "Europe/London"), ("united kingdom", "Europe/London"), ("valencia", "Europe/Madrid"),
    ("venice", "Europe/Rome"), ("vietnam", "Asia/Ho_Chi_Minh"), ("washington", "America/New_York"),
    ("washington dc", "America/New_York"), ("wellington", "Pacific/Auckland"), ("yokohama", "Asia/Tokyo"),
    // Abbreviations that mean one thing to most people, with their daylight saving time.
    ("cet", "Europe/Berlin"), ("cest", "Europe/Berlin"), ("est", "America/New_York"), ("edt", "America/New_York"),
    ("et", "America/New_York"), ("pst", "America/Los_Angeles"), ("pdt", "America/Los_Angeles"), ("pt", "America/Los_Angeles"),
    ("mst", "America/Denver"), ("bst", "Europe/London"), ("jst", "Asia/Tokyo"), ("kst", "Asia/Seoul"),
];

/// Longest name taken for a place.
const MAX_PLACE_BYTES: usize = 100;

/// A time zone and its name.
///
/// # Errors
/// Not-found for a place that is not known.
pub(crate) fn find(place: &str) -> Result<(TimeZone, String), Error> {
    let shown: String = place.chars().take(40).collect();
    let unknown = || {
        Error::not_found(format!(
            "unknown place `{shown}`; name a large city, or a zone such as Europe/Paris"
        ))
    };
    if place.len() > MAX_PLACE_BYTES {
        return Err(unknown());
    }
    let wanted = place.trim().trim_end_matches(['?', '.', '!']).to_lowercase().replace('_', " ");
    if matches!(wanted.as_str(), "utc" | "gmt" | "z" | "zulu") {
        return Ok((TimeZone::UTC, "UTC".to_owned()));
    }
    if let Some(offset) = wanted.strip_prefix("utc").or_else(|| wanted.strip_prefix("gmt")) {
        let offset = offset_of(offset.trim()).ok_or_else(unknown)?;
        return Ok((TimeZone::fixed(offset), format!("UTC{offset}")));
    }
    let database = jiff::tz::db();
    let alias = ALIASES.iter().find(|(name, _)| *name == wanted).map(|(_, zone)| (*zone).to_owned());
    let name = alias.or_else(|| {
        let same = |zone: &str| {
            let zone = zone.to_lowercase().replace('_', " ");
            zone == wanted || zone.rsplit('/').next() == Some(&wanted)
        };
        // Old names stand beside the new: the one with a region first.
        let mut names: Vec<String> =
            database.available().map(|name| name.to_string()).filter(|name| same(name)).collect();
        names.sort_by_key(|name| (!name.contains('/'), name.len()));
        names.into_iter().next()
    });
    let name = name.ok_or_else(unknown)?;
    let zone = database.get(&name).map_err(|_| unknown())?;
    Ok((zone, name))
}

/// `+9`, `-3:30`, `+0530`.
fn offset_of(text: &str) -> Option<Offset> {
    let (sign, digits) = match text.chars().next()? {
        '+' => (1, &text[1..]),
        '-' => (-1, &text[1..]),
        _ => return None,
    };
    let (hours, minutes) = match digits.split_once(':') {
        Some((hours, minutes)) => (hours, minutes),
        None if digits.len() == 4 => digits.split_at_checked(2)?,
        None => (digits, "0"),
    };
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    if !(0..=14).contains(&hours) || !(0..60).contains(&minutes) {
        return None;
    }
    Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()
}
