//! The component's side of the contract; exists on `wasm32` alone.

use std::sync::Once;

use crate::{Error, ErrorKind};

#[allow(missing_docs, clippy::all, clippy::undocumented_unsafe_blocks)]
pub mod bindings {
    //! One module for what all import, and one for each world that a plugin may export, so that a plugin exports what
    //! it has and nothing else.

    pub mod host {
        wit_bindgen::generate!({ world: "host", path: "../wit", generate_all });
    }

    pub mod tool {
        wit_bindgen::generate!({
            world: "tool",
            path: "../wit",
            pub_export_macro: true,
            default_bindings_module: "puna_plugin::__private::bindings::tool",
            export_macro_name: "export_tool",
            generate_all,
            with: {
                "puna:plugin/types@0.1.0": crate::guest::bindings::host::puna::plugin::types,
                "puna:plugin/log@0.1.0": crate::guest::bindings::host::puna::plugin::log,
                "puna:plugin/progress@0.1.0": crate::guest::bindings::host::puna::plugin::progress,
                "puna:plugin/config@0.1.0": crate::guest::bindings::host::puna::plugin::config,
                "puna:plugin/clock@0.1.0": crate::guest::bindings::host::puna::plugin::clock,
                "puna:plugin/random@0.1.0": crate::guest::bindings::host::puna::plugin::random,
                "puna:plugin/secrets@0.1.0": crate::guest::bindings::host::puna::plugin::secrets,
                "puna:plugin/http@0.1.0": crate::guest::bindings::host::puna::plugin::http,
                "puna:plugin/key-value@0.1.0": crate::guest::bindings::host::puna::plugin::key_value,
                "puna:plugin/files@0.1.0": crate::guest::bindings::host::puna::plugin::files,
                "puna:plugin/models@0.1.0": crate::guest::bindings::host::puna::plugin::models,
                "puna:plugin/sql@0.1.0": crate::guest::bindings::host::puna::plugin::sql,
            },
        });
    }

    pub mod loader {
        wit_bindgen::generate!({
            world: "loader",
            path: "../wit",
            pub_export_macro: true,
            default_bindings_module: "puna_plugin::__private::bindings::loader",
            export_macro_name: "export_loader",
            generate_all,
            with: {
                "puna:plugin/types@0.1.0": crate::guest::bindings::host::puna::plugin::types,
                "puna:plugin/log@0.1.0": crate::guest::bindings::host::puna::plugin::log,
                "puna:plugin/progress@0.1.0": crate::guest::bindings::host::puna::plugin::progress,
                "puna:plugin/config@0.1.0": crate::guest::bindings::host::puna::plugin::config,
                "puna:plugin/clock@0.1.0": crate::guest::bindings::host::puna::plugin::clock,
                "puna:plugin/random@0.1.0": crate::guest::bindings::host::puna::plugin::random,
                "puna:plugin/secrets@0.1.0": crate::guest::bindings::host::puna::plugin::secrets,
                "puna:plugin/http@0.1.0": crate::guest::bindings::host::puna::plugin::http,
                "puna:plugin/key-value@0.1.0": crate::guest::bindings::host::puna::plugin::key_value,
                "puna:plugin/files@0.1.0": crate::guest::bindings::host::puna::plugin::files,
                "puna:plugin/models@0.1.0": crate::guest::bindings::host::puna::plugin::models,
                "puna:plugin/sql@0.1.0": crate::guest::bindings::host::puna::plugin::sql,
            },
        });
    }

    pub mod retriever {
        wit_bindgen::generate!({
            world: "retriever",
            path: "../wit",
            pub_export_macro: true,
            default_bindings_module: "puna_plugin::__private::bindings::retriever",
            export_macro_name: "export_retriever",
            generate_all,
            with: {
                "puna:plugin/types@0.1.0": crate::guest::bindings::host::puna::plugin::types,
                "puna:plugin/log@0.1.0": crate::guest::bindings::host::puna::plugin::log,
                "puna:plugin/progress@0.1.0": crate::guest::bindings::host::puna::plugin::progress,
                "puna:plugin/config@0.1.0": crate::guest::bindings::host::puna::plugin::config,
                "puna:plugin/clock@0.1.0": crate::guest::bindings::host::puna::plugin::clock,
                "puna:plugin/random@0.1.0": crate::guest::bindings::host::puna::plugin::random,
                "puna:plugin/secrets@0.1.0": crate::guest::bindings::host::puna::plugin::secrets,
                "puna:plugin/http@0.1.0": crate::guest::bindings::host::puna::plugin::http,
                "puna:plugin/key-value@0.1.0": crate::guest::bindings::host::puna::plugin::key_value,
                "puna:plugin/files@0.1.0": crate::guest::bindings::host::puna::plugin::files,
                "puna:plugin/models@0.1.0": crate::guest::bindings::host::puna::plugin::models,
                "puna:plugin/sql@0.1.0": crate::guest::bindings::host::puna::plugin::sql,
            },
        });
    }
}

use bindings::host::puna::plugin::types;

/// The contract's error.
pub type WireError = types::Error;

pub mod tool {
    //! Between the contract's tools and ours.

    pub use super::bindings::tool::exports::puna::plugin::tools::{Content, Guest};
    use super::{WireError, bindings::tool::exports::puna::plugin::tools};
    use crate::{Attachment, Error};

    /// A result as the contract has it.
    pub fn to_wire(result: Result<Vec<crate::Content>, Error>) -> Result<Vec<Content>, WireError> {
        let attachment =
            |Attachment { name, media_type, content }| tools::Attachment { name, media_type, content };
        let part = |content| match content {
            crate::Content::Json(json) => Content::Json(json),
            crate::Content::Text(text) => Content::Text(text),
            crate::Content::Image(image) => Content::Image(attachment(image)),
            crate::Content::File(file) => Content::File(attachment(file)),
        };
        Ok(result?.into_iter().map(part).collect())
    }
}

pub mod loader {
    //! Between the contract's loaders and ours.

    use std::{cell::RefCell, marker::PhantomData};

    use super::{WireError, bindings::loader::exports::puna::plugin::loaders};
    use crate::{
        Documents, Error, Source,
        loader::{Blob, Cursor},
    };

    /// What `loaders!` implements.
    pub trait Open: 'static {
        /// Opens a source with the loader `name`.
        fn open(name: &str, source: Source, options: &str) -> Result<Documents, Error>;
    }

    /// The component's export.
    pub struct Loaders<L>(PhantomData<L>);

    /// An open source in the host's hands.
    pub struct OpenCursor(RefCell<Cursor>);

    impl<L: Open> loaders::Guest for Loaders<L> {
        type Cursor = OpenCursor;

        fn open(
            name: String,
            source: loaders::Source,
            options: String,
            resume: Option<String>,
        ) -> Result<loaders::Cursor, WireError> {
            super::report_panics();
            let content = source.content.map(Blob::of_host);
            let source = Source { uri: source.uri, media_type: source.media_type, content };
            let documents = L::open(&name, source, &options)?;
            let cursor = Cursor::new(documents, resume.as_deref())?;
            Ok(loaders::Cursor::new(OpenCursor(RefCell::new(cursor))))
        }
    }

    impl loaders::GuestCursor for OpenCursor {
        fn next(&self, max_documents: u32, max_bytes: u64) -> Result<loaders::Page, WireError> {
            let page = self.0.borrow_mut().page(max_documents, max_bytes)?;
            let document = |document: crate::Document| loaders::Document {
                id: document.id,
                text: document.text,
                metadata: serde_json::Value::Object(document.metadata).to_string(),
            };
            Ok(loaders::Page {
                documents: page.documents.into_iter().map(document).collect(),
                resume: page.resume,
            })
        }
    }
}

pub mod retriever {
    //! Between the contract's retrievers and ours.

    pub use super::bindings::retriever::exports::puna::plugin::retrievers::{Guest, Page};
    use super::{WireError, bindings::retriever::exports::puna::plugin::retrievers};
    use crate::{Error, Hits};

    /// Hits as the contract has them.
    pub fn to_wire(hits: Result<Hits, Error>) -> Result<Page, WireError> {
        let hits = hits?;
        let hit = |hit: crate::Hit| retrievers::Hit {
            document: hit.document,
            text: hit.text,
            span: hit.span,
            score: hit.score,
            metadata: serde_json::Value::Object(hit.metadata).to_string(),
        };
        Ok(Page { hits: hits.hits.into_iter().map(hit).collect(), next: hits.next })
    }
}

impl From<Error> for types::Error {
    fn from(error: Error) -> Self {
        Self {
            kind: match error.kind {
                ErrorKind::InvalidInput => types::ErrorKind::InvalidInput,
                ErrorKind::NotFound => types::ErrorKind::NotFound,
                ErrorKind::Denied => types::ErrorKind::Denied,
                ErrorKind::AuthRequired => types::ErrorKind::AuthRequired,
                ErrorKind::RateLimited => types::ErrorKind::RateLimited,
                ErrorKind::Unavailable => types::ErrorKind::Unavailable,
                ErrorKind::Timeout => types::ErrorKind::Timeout,
                ErrorKind::TooLarge => types::ErrorKind::TooLarge,
                ErrorKind::Internal => types::ErrorKind::Internal,
            },
            message: error.message,
            code: error.code,
            path: error.path,
            retry_after_ms: error.retry_after_ms,
        }
    }
}

impl From<types::Error> for Error {
    fn from(error: types::Error) -> Self {
        Self {
            kind: match error.kind {
                types::ErrorKind::InvalidInput => ErrorKind::InvalidInput,
                types::ErrorKind::NotFound => ErrorKind::NotFound,
                types::ErrorKind::Denied => ErrorKind::Denied,
                types::ErrorKind::AuthRequired => ErrorKind::AuthRequired,
                types::ErrorKind::RateLimited => ErrorKind::RateLimited,
                types::ErrorKind::Unavailable => ErrorKind::Unavailable,
                types::ErrorKind::Timeout => ErrorKind::Timeout,
                types::ErrorKind::TooLarge => ErrorKind::TooLarge,
                types::ErrorKind::Internal => ErrorKind::Internal,
            },
            message: error.message,
            code: error.code,
            path: error.path,
            retry_after_ms: error.retry_after_ms,
        }
    }
}

/// Sends the message of a panic to the host's log: the trap that follows carries none.
pub fn report_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|info| crate::log::error(info.to_string())));
    });
}

/// A part of the manifest as JSON that stays in memory: the address in the upper half, the length in the lower.
pub fn leak_description(part: &impl serde::Serialize) -> u64 {
    let json = serde_json::to_string(part).unwrap_or_default().leak();
    ((json.as_ptr() as u64) << 32) | json.len() as u64
}
