//! The wall clock. A plugin that reads it asks for the grant `clock` in its `plugin.toml`.

use std::time::Duration;

use crate::Error;

/// The time since 1970-01-01 00:00:00 UTC.
///
/// Natively it is the time that [`at`] set, and denied without: a test never depends on the day it runs.
///
/// # Errors
/// Denied when the plugin was not granted the clock.
pub fn now() -> Result<Duration, Error> {
    host_now()
}

#[cfg(target_arch = "wasm32")]
fn host_now() -> Result<Duration, Error> {
    Ok(Duration::from_nanos(crate::guest::bindings::host::puna::plugin::clock::now()?))
}

#[cfg(not(target_arch = "wasm32"))]
pub use native::at;
#[cfg(not(target_arch = "wasm32"))]
use native::host_now;

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::{cell::RefCell, time::Duration};

    use crate::{Error, ErrorKind, native::with};

    thread_local! {
        static NOW: RefCell<Option<Duration>> = const { RefCell::new(None) };
    }

    /// Runs `body` with the clock at a fixed time since 1970-01-01 UTC, on this thread. Only natively.
    ///
    /// ```
    /// use std::time::Duration;
    /// use puna_plugin::clock;
    /// assert!(clock::now().is_err());
    /// let now = clock::at(Duration::from_secs(1_700_000_000), clock::now);
    /// assert_eq!(now.unwrap().as_secs(), 1_700_000_000);
    /// ```
    pub fn at<T>(time: Duration, body: impl FnOnce() -> T) -> T {
        with(&NOW, Some(time), body)
    }

    pub fn host_now() -> Result<Duration, Error> {
        NOW.with_borrow(|now| *now)
            .ok_or_else(|| Error::new(ErrorKind::Denied, "the grant `clock` is missing"))
    }
}
