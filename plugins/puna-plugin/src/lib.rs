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
//! [`loaders!`] and [`retrievers!`] list readers of documents and finders of passages in the same way, and [`config!`]
//! names the type of the plugin's configuration. A plugin may use all of them.
//!
//! A plugin's `Cargo.toml` asks for `crate-type = ["cdylib", "rlib"]`, and a `plugin.toml` beside it
//! states its name, version, contract and the grants it asks for. `puna plugin build` then makes the
//! component.
//!
//! On `wasm32` the crate speaks the contract `puna:plugin` (`plugins/wit`); elsewhere its modules are stand-ins for tests.
//! Invariant: a guest sees nothing of the world but these modules.

pub mod clock;
pub mod config;
mod content;
mod describe;
mod error;
pub mod files;
pub mod http;
pub mod loader;
pub mod log;
pub mod models;
#[cfg(not(target_arch = "wasm32"))]
mod native;
pub mod progress;
pub mod random;
pub mod retriever;
pub mod secrets;
pub mod sql;
pub mod store;

pub use content::{Attachment, Content, Contents, Output};
pub use describe::{LoaderDescription, RetrieverDescription, ToolDescription};
pub use error::{Error, ErrorKind};
pub use loader::{Document, Documents, Source};
pub use retriever::{Hit, Hits, Query};

/// The version of the contract that this SDK speaks: `plugins/wit` states it in its package name.
pub const CONTRACT: &str = "0.1.0";

/// Lists a plugin's tools, once for each crate: `"name": function => "What it does, for the model.",`.
///
/// Each function is an `fn(Arguments) -> Result<R, impl Into<Error>>`, where `Arguments` is
/// `Deserialize + JsonSchema` and `R` is an [`Output`]: anything that is `Serialize + JsonSchema`, or [`Contents`].
/// The macro defines
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
            __puna_tools::perform(name, arguments).map($crate::__private::shown)
        }

        mod __puna_tools {
            use super::*;

            pub(super) fn perform(
                name: &str,
                arguments: &str,
            ) -> ::std::result::Result<::std::vec::Vec<$crate::Content>, $crate::Error> {
                match name {
                    $($name => $crate::__private::run(&$function, arguments),)+
                    _ => ::std::result::Result::Err($crate::__private::unknown("tool", name, &[$($name),+])),
                }
            }

            #[cfg(target_arch = "wasm32")]
            mod component {
                struct Component;

                impl $crate::__private::tool::Guest for Component {
                    fn call(
                        name: ::std::string::String,
                        arguments: ::std::string::String,
                    ) -> ::std::result::Result<
                        ::std::vec::Vec<$crate::__private::tool::Content>,
                        $crate::__private::WireError,
                    > {
                        $crate::__private::report_panics();
                        $crate::__private::tool::to_wire(super::perform(&name, &arguments))
                    }
                }

                $crate::__private::export_tool!(Component with_types_in $crate::__private::bindings::tool);

                $crate::__describe!(puna_describe_tools, super::super::manifest());
            }
        }
    };
}

/// Lists a plugin's loaders, once for each crate:
///
/// ```
/// use puna_plugin::{Document, Documents, Error, Source};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Options {}
///
/// fn lines(source: Source, _: Options) -> Result<Documents, Error> {
///     let text = String::from_utf8_lossy(&source.read_all(1 << 20)?).into_owned();
///     let lines: Vec<_> = text.lines().map(str::to_owned).collect();
///     let document = |(number, line): (usize, String)| Ok(Document::new(format!("line {}", number + 1), line));
///     Ok(Box::new(lines.into_iter().enumerate().map(document)))
/// }
///
/// puna_plugin::loaders! {
///     "lines": lines => {
///         description: "One document a line.",
///         media_types: ["text/plain"],
///         extensions: ["txt"],
///     },
/// }
///
/// # fn main() {
/// let source = Source::of_bytes("a.txt", "one\ntwo");
/// assert_eq!(open("lines", source, "{}").unwrap().nth(1).unwrap().unwrap().text, "two");
/// # }
/// ```
///
/// Each function is an `fn(Source, Options) -> Result<Documents, impl Into<Error>>`. The macro defines
/// `pub fn open(name, source, options) -> Result<Documents, Error>` and on `wasm32` exports the component's world.
#[macro_export]
macro_rules! loaders {
    ($($name:literal : $function:path => {
        description: $description:literal,
        media_types: [$($media_type:literal),* $(,)?],
        extensions: [$($extension:literal),* $(,)?] $(,)?
    }),+ $(,)?) => {
        /// Opens a source with the loader `name`, with options as JSON.
        ///
        /// # Errors
        /// The loader's own; not-found for a name that is not the plugin's; invalid-input, with the path, for options
        /// that do not read as the loader's.
        pub fn open(
            name: &str,
            source: $crate::Source,
            options: &str,
        ) -> ::std::result::Result<$crate::Documents, $crate::Error> {
            match name {
                $($name => $crate::__private::open(&$function, source, options),)+
                _ => ::std::result::Result::Err($crate::__private::unknown("loader", name, &[$($name),+])),
            }
        }

        /// The plugin's loaders, with the JSON Schemas of their options.
        pub fn loader_manifest() -> ::std::vec::Vec<$crate::LoaderDescription> {
            ::std::vec![$($crate::__private::describe_loader(
                $name,
                $description,
                &[$($media_type),*],
                &[$($extension),*],
                &$function,
            )),+]
        }

        #[cfg(target_arch = "wasm32")]
        mod __puna_loaders {
            struct Component;

            impl $crate::__private::loader::Open for Component {
                fn open(
                    name: &str,
                    source: $crate::Source,
                    options: &str,
                ) -> ::std::result::Result<$crate::Documents, $crate::Error> {
                    super::open(name, source, options)
                }
            }

            type Loaders = $crate::__private::loader::Loaders<Component>;

            $crate::__private::export_loader!(Loaders with_types_in $crate::__private::bindings::loader);

            $crate::__describe!(puna_describe_loaders, super::loader_manifest());
        }
    };
}

/// Lists a plugin's retrievers, once for each crate: `"name": function => "What it finds.",`.
///
/// Each function is an `fn(Query, Options) -> Result<Hits, impl Into<Error>>`. The macro defines
/// `pub fn retrieve(name, query, options) -> Result<Hits, Error>` and on `wasm32` exports the component's world.
#[macro_export]
macro_rules! retrievers {
    ($($name:literal : $function:path => $description:literal),+ $(,)?) => {
        /// Looks with the retriever `name`, with options as JSON.
        ///
        /// # Errors
        /// The retriever's own; not-found for a name that is not the plugin's; invalid-input, with the path, for
        /// options that do not read as the retriever's.
        pub fn retrieve(
            name: &str,
            query: $crate::Query,
            options: &str,
        ) -> ::std::result::Result<$crate::Hits, $crate::Error> {
            match name {
                $($name => $crate::__private::retrieve(&$function, query, options),)+
                _ => ::std::result::Result::Err($crate::__private::unknown("retriever", name, &[$($name),+])),
            }
        }

        /// The plugin's retrievers, with the JSON Schemas of their options.
        pub fn retriever_manifest() -> ::std::vec::Vec<$crate::RetrieverDescription> {
            ::std::vec![$($crate::__private::describe_retriever($name, $description, &$function)),+]
        }

        #[cfg(target_arch = "wasm32")]
        mod __puna_retrievers {
            struct Component;

            impl $crate::__private::retriever::Guest for Component {
                fn retrieve(
                    name: ::std::string::String,
                    query: ::std::string::String,
                    k: u32,
                    options: ::std::string::String,
                    page: ::std::option::Option<::std::string::String>,
                ) -> ::std::result::Result<$crate::__private::retriever::Page, $crate::__private::WireError> {
                    $crate::__private::report_panics();
                    let query = $crate::Query { text: query, k: k as usize, page };
                    $crate::__private::retriever::to_wire(super::retrieve(&name, query, &options))
                }
            }

            $crate::__private::export_retriever!(Component with_types_in $crate::__private::bindings::retriever);

            $crate::__describe!(puna_describe_retrievers, super::retriever_manifest());
        }
    };
}

/// Names the type of the plugin's configuration, once for each crate: `puna_plugin::config!(Config);`. The type is
/// `JsonSchema`; what users write is held against it before the plugin is loaded.
#[macro_export]
macro_rules! config {
    ($config:ty) => {
        #[cfg(target_arch = "wasm32")]
        mod __puna_config {
            use super::*;

            $crate::__describe!(
                puna_describe_configuration,
                $crate::__private::schema_of_arguments::<$config>()
            );
        }
    };
}

/// `puna plugin build` compiles twice: once with the variable set, to read the manifest from the module, and once
/// without, so that no schema code is left in the component.
#[doc(hidden)]
#[macro_export]
macro_rules! __describe {
    ($export:ident, $part:expr) => {
        #[unsafe(no_mangle)]
        extern "C" fn $export() -> u64 {
            if const { ::std::option_env!("PUNA_PLUGIN_DESCRIBE").is_some() } {
                $crate::__private::leak_description(&$part)
            } else {
                0
            }
        }
    };
}

#[doc(hidden)]
pub mod __private {
    //! What the macros expand to; no part of the interface.
    pub use crate::{
        content::shown,
        describe::{
            describe, describe_loader, describe_retriever, open, retrieve, run, schema_of_arguments, unknown,
        },
    };
    #[cfg(target_arch = "wasm32")]
    pub use crate::{
        guest::bindings::{loader::export_loader, retriever::export_retriever, tool::export_tool},
        guest::{WireError, bindings, leak_description, loader, report_panics, retriever, tool},
    };
}

#[cfg(target_arch = "wasm32")]
mod guest;
