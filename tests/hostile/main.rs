//! Guests that mean harm, and what comes of them.
//!
//! Each attack that a core module can make is a file of `guests/`, whose head says what comes of it; attacks by way of
//! host functions are made by the probe. After each the host is alive: the next good call works. `every_attack` prints
//! how long a good call takes before and after all of them.

#[cfg(unix)]
mod caching;
mod cases;
mod escaping;
mod loading;
mod reaching;

#[path = "../../runtime/puna-plugins/tests/it/guests.rs"]
mod guests;
#[path = "../../runtime/puna-plugins/tests/it/probe.rs"]
mod probe;
