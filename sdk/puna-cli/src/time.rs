/// A name for a conversation that was given none: the agent, the second, and a number against two in one second.
pub(crate) fn new_session_name(agent: &str) -> String {
    let now = jiff::Timestamp::now();
    let parts = now.subsec_nanosecond().unsigned_abs() ^ std::process::id().rotate_left(16);
    format!("{agent}-{}-{:04x}", now.strftime("%Y%m%d-%H%M%S"), parts & 0xffff)
}

/// A time of the journal, in UTC.
pub(crate) fn format_time(ms: u64) -> String {
    match i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) {
        Some(time) => time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => format!("{ms} ms"),
    }
}
