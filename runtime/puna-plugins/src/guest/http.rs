//! Requests, held against the grant at every hop; and secrets, put in on the way out.

use puna_core::ToolError;
use reqwest::Url;

use super::{GuestState, failure, from_tool, limit_reached, scrub, spend};
use crate::{
    Grant, HttpGrant, Secrets,
    contract::bindings::puna::plugin::{http, secrets, types},
    http::{HttpBounds, HttpRequest, parse_url},
};

/// Longest request: method, headers and body.
const MAX_REQUEST_BYTES: usize = 4 << 20;

/// Most headers of a request.
const MAX_REQUEST_HEADERS: usize = 64;

/// What the host says for itself, or what would let a guest speak past the grant.
const RESERVED_HEADERS: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers that are for the origin they were meant for, and no other that a redirect leads to.
const CREDENTIAL_HEADERS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

impl secrets::Host for GuestState {
    fn exists(&mut self, name: String) -> wasmtime::Result<bool> {
        Ok(self.setup.grants.secrets.get(&name).is_some_and(|secret| secret.value.is_some()))
    }
}

impl http::Host for GuestState {
    async fn send(
        &mut self,
        request: http::Request,
    ) -> wasmtime::Result<Result<http::Response, types::Error>> {
        Ok(self.send(request).await)
    }
}

impl GuestState {
    async fn send(&mut self, request: http::Request) -> Result<http::Response, types::Error> {
        self.need(Grant::Http)?;
        let Some(left) = self.left.http_requests.checked_sub(1) else {
            return Err(limit_reached(&self.plugin, "http_requests", self.setup.limits.http_requests.into()));
        };
        self.left.http_requests = left;
        let mut request = check(request)?;
        let mut url = parse_url(&request.url).map_err(|error| super::from_core(&error))?;
        let mut redirects = self.setup.limits.http_redirects;
        loop {
            let grant = self.granted(&request.method, &url)?;
            let bounds = HttpBounds {
                private_addresses: grant.private_addresses,
                body_bytes: self.spend_http(size(&request))?,
            };
            let outgoing = HttpRequest {
                url: url.to_string(),
                headers: self.with_secrets(&request.headers, &url)?,
                method: request.method.clone(),
                body: request.body.clone(),
            };
            tracing::info!(
                plugin = &*self.plugin,
                method = request.method,
                host = url.host_str(),
                "http request"
            );
            let response = self.setup.services.http.send(outgoing, bounds).await;
            let response =
                response.map_err(|error| from_tool(without_secrets(error, &self.setup.grants.secrets)))?;
            self.spend_http(response.body.len() as u64)?;
            let Some(next) = response.redirect_from(&url) else {
                return Ok(http::Response {
                    status: response.status,
                    url: url.into(),
                    headers: response.headers,
                    body: response.body,
                });
            };
            let Some(rest) = redirects.checked_sub(1) else {
                let most = self.setup.limits.http_redirects.into();
                return Err(limit_reached(&self.plugin, "http_redirects", most));
            };
            redirects = rest;
            let next = next.map_err(|error| super::from_core(&error))?;
            if next.origin() != url.origin() {
                request.headers.retain(|(name, value)| {
                    !CREDENTIAL_HEADERS.contains(&name.as_str()) && !value.contains(SECRET_START)
                });
            }
            // What browsers do (RFC 9110, section 15.4): only 307 and 308 repeat the method with its body.
            if !matches!(response.status, 307 | 308) && request.method != "HEAD" {
                request.method = "GET".to_owned();
                request.body.clear();
                request.headers.retain(|(name, _)| !name.starts_with("content-"));
            }
            url = next;
        }
    }

    /// The grant that covers a request.
    fn granted(&self, method: &str, url: &Url) -> Result<HttpGrant, types::Error> {
        let grants = self.setup.grants.http.iter().filter(|grant| grant.origin.covers_url(url));
        let mut origin_granted = false;
        for grant in grants {
            if grant.methods.contains(method) {
                return Ok(grant.clone());
            }
            origin_granted = true;
        }
        let origin = scrub(&url.origin().ascii_serialization(), 200);
        let what = if origin_granted { format!("`{method}` to `{origin}`") } else { format!("`{origin}`") };
        Err(failure(
            types::ErrorKind::Denied,
            format!(
                "plugin `{}` was not granted {what}; add it under `http` in the plugin's `grants`",
                self.plugin
            ),
        ))
    }

    /// Takes bytes from what the call has left, and gives the rest.
    fn spend_http(&mut self, bytes: u64) -> Result<u64, types::Error> {
        let most = self.setup.limits.http_bytes;
        spend(&mut self.left.http_bytes, bytes, &self.plugin, "http_bytes", most)
    }

    /// Puts secrets in the place of their names, where they may go.
    fn with_secrets(
        &self,
        headers: &[(String, String)],
        url: &Url,
    ) -> Result<Vec<(String, String)>, types::Error> {
        let secrets = &self.setup.grants.secrets;
        headers
            .iter()
            .map(|(name, value)| Ok((name.clone(), inject(value, secrets, url, &self.plugin)?)))
            .collect()
    }
}

const SECRET_START: &str = "{{secret:";
const SECRET_END: &str = "}}";

fn inject(value: &str, secrets: &Secrets, url: &Url, plugin: &str) -> Result<String, types::Error> {
    let mut text = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once(SECRET_START) {
        let Some((name, after)) = after.split_once(SECRET_END) else { break };
        let denied = |why: &str| {
            failure(
                types::ErrorKind::AuthRequired,
                format!("the secret `{}` of plugin `{plugin}` {why}", scrub(name, 60)),
            )
        };
        let secret = secrets.get(name).ok_or_else(|| denied("was not granted"))?;
        if !secret.origins.iter().any(|origin| origin.covers_url(url)) {
            return Err(denied("is not for this origin"));
        }
        text.push_str(before);
        text.push_str(secret.value.as_deref().ok_or_else(|| denied("has no value on this machine"))?);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

/// An error's words with no secret in them, whatever the service below quotes.
fn without_secrets(mut error: ToolError, secrets: &Secrets) -> ToolError {
    for value in
        secrets.values().filter_map(|secret| secret.value.as_deref()).filter(|value| !value.is_empty())
    {
        if error.message.contains(value) {
            error.message = error.message.replace(value, "[secret]");
        }
    }
    error
}

fn check(request: http::Request) -> Result<HttpRequest, types::Error> {
    let wrong = |message: String| failure(types::ErrorKind::InvalidInput, message);
    if request.headers.len() > MAX_REQUEST_HEADERS {
        return Err(wrong(format!("a request has at most {MAX_REQUEST_HEADERS} headers")));
    }
    let headers: Vec<(String, String)> =
        request.headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    if let Some((name, _)) = headers.iter().find(|(name, _)| RESERVED_HEADERS.contains(&name.as_str())) {
        return Err(wrong(format!("the header `{name}` is the host's")));
    }
    let request = HttpRequest {
        method: request.method.to_ascii_uppercase(),
        url: request.url,
        headers,
        body: request.body,
    };
    let bytes = size(&request);
    if bytes > MAX_REQUEST_BYTES as u64 {
        return Err(failure(
            types::ErrorKind::TooLarge,
            format!("the request takes {bytes} bytes; the most is {MAX_REQUEST_BYTES}"),
        ));
    }
    Ok(request)
}

fn size(request: &HttpRequest) -> u64 {
    let headers: usize = request.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    (request.method.len() + request.url.len() + headers + request.body.len()) as u64
}
