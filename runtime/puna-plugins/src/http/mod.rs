//! Requests on behalf of guests: where they may go, and the client that takes them there.

mod address;
mod client;
mod origin;

use async_trait::async_trait;
use puna_core::ToolError;

pub use client::{HttpClient, Resolver};
pub use origin::Origin;
pub(crate) use origin::parse_url;

/// Name and value pairs, in order.
pub type Headers = Vec<(String, String)>;

/// A request to one address, secrets put in.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// In capitals.
    pub method: String,
    /// With scheme and host.
    pub url: String,
    /// Names and values.
    pub headers: Headers,
    /// The body, empty for none.
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Headers,
    /// The whole body.
    pub body: Vec<u8>,
}

/// What the grant and the limits say of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpBounds {
    /// Whether an address that is not public may be dialled.
    pub private_addresses: bool,
    /// Longest body of an answer, in bytes.
    pub body_bytes: u64,
}

/// Sends requests. Follows no redirect: each hop is held against the grant first.
#[async_trait]
pub trait HttpService: Send + Sync {
    /// Sends one request.
    ///
    /// # Errors
    /// Denied for an address that may not be dialled, too-large for a longer body, unavailable when no answer came.
    async fn send(&self, request: HttpRequest, bounds: HttpBounds) -> Result<HttpResponse, ToolError>;
}
