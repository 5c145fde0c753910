//! The plugin's configuration. Declare its type with [`config!`](crate::config!), and the host holds what users write
//! against the schema before the plugin is loaded.

use serde::de::DeserializeOwned;

use crate::Error;

/// The configuration.
///
/// Natively it is what [`given`] set, and `null` without.
///
/// # Errors
/// Invalid-input when it does not read as `T`, which cannot be where `T` is the declared type.
pub fn get<T: DeserializeOwned>() -> Result<T, Error> {
    serde_json::from_str(&host_config())
        .map_err(|error| Error::invalid_input(format!("the configuration: {error}")))
}

#[cfg(target_arch = "wasm32")]
fn host_config() -> String {
    crate::guest::bindings::host::puna::plugin::config::get()
}

#[cfg(not(target_arch = "wasm32"))]
pub use native::given;
#[cfg(not(target_arch = "wasm32"))]
use native::host_config;

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::cell::RefCell;

    use serde_json::Value;

    use crate::native::with;

    thread_local! {
        static CONFIG: RefCell<Value> = const { RefCell::new(Value::Null) };
    }

    /// Runs `body` with a configuration, on this thread. Only natively.
    pub fn given<T>(config: Value, body: impl FnOnce() -> T) -> T {
        with(&CONFIG, config, body)
    }

    pub fn host_config() -> String {
        CONFIG.with_borrow(Value::to_string)
    }
}
