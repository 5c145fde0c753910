//! Requests on behalf of guests: where they may go, and the client that takes them there.

mod address;
mod client;
mod origin;

use async_trait::async_trait;
use puna_core::{Error, Result, ToolError};
use reqwest::Url;

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

impl HttpResponse {
    /// The address to which the answer to a request of `address` sends it on, if it does.
    ///
    /// # Errors
    /// Invalid input where that is no address to request.
    pub fn redirect(&self, address: &str) -> Option<Result<String>> {
        let next = match parse_url(address) {
            Ok(address) => self.redirect_from(&address)?,
            Err(error) => Err(error),
        };
        Some(next.map(String::from))
    }

    pub(crate) fn redirect_from(&self, address: &Url) -> Option<Result<Url>> {
        if !matches!(self.status, 301 | 302 | 303 | 307 | 308) {
            return None;
        }
        let (_, location) = self.headers.iter().find(|(name, _)| name == "location")?;
        Some(match address.join(location) {
            Ok(url) => parse_url(url.as_str()),
            Err(error) => Err(Error::invalid_input(format!("a redirect to no address: {error}"))),
        })
    }
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
