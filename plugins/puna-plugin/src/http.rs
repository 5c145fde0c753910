//! Requests over http and https. A plugin that sends some asks for the grant `http`, and whoever gives it lists origins
//! and methods. A secret that was granted is put into headers by the host, in the place of `{{secret:NAME}}`.
//!
//! ```
//! use puna_plugin::http::{self, Request, Response};
//! let request = Request::get("https://api.example.com/v1").header("authorization", "Bearer {{secret:token}}");
//! // Natively a test says what comes back:
//! let answered = http::answered_by(|_| Ok(Response::new(200, "hello")), || http::send(request));
//! assert_eq!(answered.unwrap().body, b"hello");
//! ```

use crate::Error;

/// A request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// In capitals.
    pub method: String,
    /// With scheme and host.
    pub url: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// Empty for none.
    pub body: Vec<u8>,
}

/// An answer, whatever its status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Where the answer is from, after redirects; empty where a test does not say.
    pub url: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Request {
    /// A `GET`.
    pub fn get(url: impl Into<String>) -> Self {
        Self { method: "GET".to_owned(), url: url.into(), ..Self::default() }
    }

    /// A `POST` of JSON.
    pub fn post_json(url: impl Into<String>, body: &serde_json::Value) -> Self {
        let body = body.to_string().into_bytes();
        let request = Self { method: "POST".to_owned(), url: url.into(), body, ..Self::default() };
        request.header("content-type", "application/json")
    }

    /// The same with one header more.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

impl Response {
    /// An answer with a status and a body alone.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: body.into(), ..Self::default() }
    }

    /// The first header of this name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// The same answer as an error where the status is not one of success.
    ///
    /// # Errors
    /// Not-found, auth-required, rate-limited (with what `retry-after` says) or unavailable, by the status.
    pub fn checked(self) -> Result<Self, Error> {
        use crate::ErrorKind;
        let kind = match self.status {
            200..=299 => return Ok(self),
            401 | 403 => ErrorKind::AuthRequired,
            404 | 410 => ErrorKind::NotFound,
            408 => ErrorKind::Timeout,
            413 => ErrorKind::TooLarge,
            429 => ErrorKind::RateLimited,
            400..=499 => ErrorKind::InvalidInput,
            _ => ErrorKind::Unavailable,
        };
        let mut error = Error::new(kind, format!("`{}` answered with status {}", self.url, self.status));
        let seconds = self.header("retry-after").and_then(|after| after.trim().parse::<u64>().ok());
        error.retry_after_ms = seconds.map(|seconds| seconds.saturating_mul(1000));
        Err(error)
    }
}

/// Sends a request and follows redirects within the grant. Any status is an answer.
///
/// Natively the answer is what [`answered_by`] says, and denied without.
///
/// # Errors
/// Denied for what was not granted, unavailable when no answer came, too-large above the host's limits.
pub fn send(request: Request) -> Result<Response, Error> {
    host_send(request)
}

#[cfg(target_arch = "wasm32")]
fn host_send(request: Request) -> Result<Response, Error> {
    use crate::guest::bindings::host::puna::plugin::http;
    let Request { method, url, headers, body } = request;
    let response = http::send(&http::Request { method, url, headers, body })?;
    Ok(Response {
        status: response.status,
        url: response.url,
        headers: response.headers,
        body: response.body,
    })
}

#[cfg(not(target_arch = "wasm32"))]
pub use native::answered_by;
#[cfg(not(target_arch = "wasm32"))]
use native::host_send;

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::{cell::RefCell, rc::Rc};

    use super::{Request, Response};
    use crate::{Error, ErrorKind, native::with};

    type Answer = Rc<dyn Fn(&Request) -> Result<Response, Error>>;

    thread_local! {
        static ANSWER: RefCell<Option<Answer>> = const { RefCell::new(None) };
    }

    /// Runs `body` with a network that answers so, on this thread. Only natively.
    pub fn answered_by<T>(
        answer: impl Fn(&Request) -> Result<Response, Error> + 'static,
        body: impl FnOnce() -> T,
    ) -> T {
        with(&ANSWER, Some(Rc::new(answer)), body)
    }

    pub fn host_send(request: Request) -> Result<Response, Error> {
        let answer = ANSWER.with_borrow(Clone::clone);
        let answer = answer.ok_or_else(|| Error::new(ErrorKind::Denied, "the grant `http` is missing"))?;
        let url = request.url.clone();
        answer(&request).map(|mut response| {
            if response.url.is_empty() {
                response.url = url;
            }
            response
        })
    }
}
