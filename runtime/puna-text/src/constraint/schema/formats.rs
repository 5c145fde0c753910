//! Formats as regular expressions, each within what every validator takes for it.

/// A part of a host's name: no two hyphens beside each other, which internationalised names mean something by.
macro_rules! label {
    () => {
        "[A-Za-z0-9]{1,15}(?:-[A-Za-z0-9]{1,15}){0,2}"
    };
}

macro_rules! host {
    () => {
        concat!(label!(), r"(?:\.", label!(), "){0,3}")
    };
}

/// A day that every year has.
macro_rules! date {
    () => {
        concat!(
            "[1-9][0-9]{3}-",
            "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
        )
    };
}

/// A time of day without leap seconds.
macro_rules! time {
    () => {
        r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
    };
}

macro_rules! byte {
    () => {
        "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
    };
}

const DURATION: &str = "P(?:[0-9]{1,6}W|(?:[0-9]{1,6}Y(?:[0-9]{1,6}M(?:[0-9]{1,6}D)?)?|[0-9]{1,6}M(?:[0-9]{1,6}D)?|[0-9]{1,6}D)\
    (?:T(?:[0-9]{1,6}H(?:[0-9]{1,6}M(?:[0-9]{1,6}S)?)?|[0-9]{1,6}M(?:[0-9]{1,6}S)?|[0-9]{1,6}S))?|\
    T(?:[0-9]{1,6}H(?:[0-9]{1,6}M(?:[0-9]{1,6}S)?)?|[0-9]{1,6}M(?:[0-9]{1,6}S)?|[0-9]{1,6}S))";

const IPV6: &str = "(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}|::(?:[0-9a-fA-F]{1,4}:){0,5}[0-9a-fA-F]{1,4}|\
    (?:[0-9a-fA-F]{1,4}:){1,6}:(?:[0-9a-fA-F]{1,4})?|::";

const URI: &str = concat!(
    "[a-z][a-z0-9+.-]{0,9}://",
    host!(),
    r"(?::[1-9][0-9]{0,3})?(?:/[A-Za-z0-9_.~!$&'()*+,;=:@-]{0,64}){0,16}",
    r"(?:\?[A-Za-z0-9_.~!$&'()*+,;=:@/?-]{0,256})?(?:#[A-Za-z0-9_.~!$&'()*+,;=:@/?-]{0,64})?"
);

/// The texts of a format; none for one that is not held.
pub(super) fn pattern(format: &str) -> Option<&'static str> {
    Some(match format {
        "date" => date!(),
        "date-time" => concat!(date!(), "T", time!()),
        "duration" => DURATION,
        "email" | "idn-email" => {
            concat!(
                r"[A-Za-z0-9_+-]{1,20}(?:\.[A-Za-z0-9_+-]{1,20}){0,2}@",
                label!(),
                r"(?:\.",
                label!(),
                "){1,3}"
            )
        }
        "hostname" | "idn-hostname" => host!(),
        "ipv4" => concat!(byte!(), r"\.", byte!(), r"\.", byte!(), r"\.", byte!()),
        "ipv6" => IPV6,
        "iri" | "iri-reference" | "uri" | "uri-reference" | "uri-template" => URI,
        "json-pointer" => "(?:/(?:[^~/]|~[01])*)*",
        "time" => time!(),
        "uuid" => "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}",
        _ => return None,
    })
}

/// The numbers of a format, which languages with types write for theirs.
pub(super) fn integer_range(format: &str) -> Option<(i64, i64)> {
    Some(match format {
        "int8" => (i8::MIN.into(), i8::MAX.into()),
        "int16" => (i16::MIN.into(), i16::MAX.into()),
        "int32" => (i32::MIN.into(), i32::MAX.into()),
        "int64" | "int" | "double" | "float" => (i64::MIN, i64::MAX),
        "uint8" => (0, u8::MAX.into()),
        "uint16" => (0, u16::MAX.into()),
        "uint32" => (0, u32::MAX.into()),
        "uint64" | "uint" => (0, i64::MAX),
        _ => return None,
    })
}
