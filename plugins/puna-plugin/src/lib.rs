//! Guest SDK for Puna plugins written in Rust.
//!
//! A tool is a function from one argument struct to a result; its JSON Schemas come from the types,
//! its descriptions from the doc comments. [`tools!`] lists the functions:
//!
//! ```
//! use puna_plugin::Error;
//! use schemars::JsonSchema;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize, JsonSchema)]
//! struct Repeat {
//!     /// What to repeat.
//!     text: String,
//!     times: u32,
//! }
//!
//! #[derive(Serialize, JsonSchema)]
//! struct Repeated {
//!     text: String,
//! }
//!
//! fn repeat(arguments: Repeat) -> Result<Repeated, Error> {
//!     if arguments.times > 100 {
//!         return Err(Error::invalid_input("`times` is at most 100").at("/times"));
//!     }
//!     Ok(Repeated { text: arguments.text.repeat(arguments.times as usize) })
//! }
//!
//! puna_plugin::tools! {
//!     "repeat": repeat => "Repeat a text.",
//! }
//!
//! fn main() {
//!     // Natively the same plugin is an ordinary library to test:
//!     assert_eq!(call("repeat", r#"{"text":"ha","times":2}"#).unwrap(), r#"{"text":"haha"}"#);
//!     assert_eq!(manifest()[0].parameters["required"], serde_json::json!(["text", "times"]));
//! }
//! ```
//!
//! A plugin's `Cargo.toml` asks for `crate-type = ["cdylib", "rlib"]`, and a `plugin.toml` beside it
//! states its name, version, contract and the grants it asks for. `puna plugin build` then makes the
//! component.
//!
//! On `wasm32` the crate speaks the contract `puna:plugin` (`plugins/wit`); elsewhere [`log`] and
//! [`clock`] are stand-ins for tests. Invariant: a guest sees nothing of the world but these modules.

pub mod clock;
mod describe;
mod error;
pub mod log;

pub use describe::ToolDescription;
pub use error::{Error, ErrorKind};

/// The version of the contract that this SDK speaks: `plugins/wit` states it in its package name.
pub const CONTRACT: &str = "0.1.0";

/// Lists a plugin's tools, once for each crate: `"name": function => "What it does, for the model.",`.
///
/// Each function is an `fn(Arguments) -> Result<Output, impl Into<Error>>`, where `Arguments` is
/// `Deserialize + JsonSchema` and `Output` is `Serialize + JsonSchema`. The macro defines
///
/// - `pub fn manifest() -> Vec<ToolDescription>`: the tools with their schemas,
/// - `pub fn call(name: &str, arguments: &str) -> Result<String, Error>`: performs a call, JSON in and out,
///
/// and on `wasm32` exports the component's world.
#[macro_export]
macro_rules! tools {
    ($($name:literal : $function:path => $description:literal),+ $(,)?) => {
        /// The plugin's tools, with the JSON Schemas of their arguments and results.
        pub fn manifest() -> ::std::vec::Vec<$crate::ToolDescription> {
            ::std::vec![$($crate::__private::describe($name, $description, &$function)),+]
        }

        /// Calls the tool `name` with arguments as JSON and gives its result as JSON.
        ///
        /// # Errors
        /// The tool's own; not-found for a name that is not the plugin's; invalid-input, with the
        /// path, for arguments that do not read as the tool's.
        pub fn call(name: &str, arguments: &str) -> ::std::result::Result<::std::string::String, $crate::Error> {
            match name {
                $($name => $crate::__private::run(&$function, arguments),)+
                _ => ::std::result::Result::Err($crate::__private::unknown(name, &[$($name),+])),
            }
        }

        #[cfg(target_arch = "wasm32")]
        mod __puna_plugin_component {
            struct Component;

            impl $crate::__private::Guest for Component {
                fn call(
                    name: ::std::string::String,
                    arguments: ::std::string::String,
                ) -> ::std::result::Result<::std::string::String, $crate::__private::WireError> {
                    $crate::__private::report_panics();
                    super::call(&name, &arguments).map_err(::std::convert::Into::into)
                }
            }

            $crate::__private::export!(Component with_types_in $crate::__private::bindings);

            // `puna plugin build` compiles twice: once with this variable set, to read the manifest
            // from the module, and once without, so that no schema code is left in the component.
            #[unsafe(no_mangle)]
            extern "C" fn puna_describe() -> u64 {
                if const { ::std::option_env!("PUNA_PLUGIN_DESCRIBE").is_some() } {
                    $crate::__private::leak_manifest(super::manifest())
                } else {
                    0
                }
            }
        }
    };
}

#[doc(hidden)]
pub mod __private {
    //! What [`tools!`](crate::tools) expands to; no part of the interface.
    pub use crate::describe::{describe, run, unknown};
    #[cfg(target_arch = "wasm32")]
    pub use crate::guest::{
        bindings,
        bindings::export,
        bindings::exports::puna::plugin::tools::{Error as WireError, Guest},
        leak_manifest, report_panics,
    };
}

#[cfg(target_arch = "wasm32")]
mod guest;
