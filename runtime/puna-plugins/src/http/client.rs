use std::{
    error::Error as StdError,
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use puna_core::{ToolError, ToolErrorKind};
use reqwest::{
    Client, Method,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use url::Host;

use super::{HttpBounds, HttpRequest, HttpResponse, HttpService, address::is_public, parse_url};
use crate::guest::scrub;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest head of an answer that a guest is shown.
const MAX_RESPONSE_HEADERS: usize = 100;

/// Longest value of a header, either way.
const MAX_HEADER_BYTES: usize = 8 << 10;

/// Turns names into addresses.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// The addresses of a name.
    ///
    /// # Errors
    /// When it has none.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The machine's resolver.
struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Sends requests from this machine: each name is resolved once, its addresses are checked, and those very addresses
/// are dialled, so that a name cannot point elsewhere between check and use. Uses no proxy and keeps no cookie.
pub struct HttpClient {
    resolver: Arc<dyn Resolver>,
    /// Made at first use: reading the machine's certificates takes milliseconds.
    public: OnceLock<Result<Client, String>>,
    private: OnceLock<Result<Client, String>>,
}

impl Default for HttpClient {
    fn default() -> Self {
        Self::with_resolver(Arc::new(SystemResolver))
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("HttpClient").finish_non_exhaustive()
    }
}

impl HttpClient {
    /// A client with a resolver of the host's own.
    pub fn with_resolver(resolver: Arc<dyn Resolver>) -> Self {
        Self { resolver, public: OnceLock::new(), private: OnceLock::new() }
    }

    fn client(&self, private_addresses: bool) -> Result<&Client, ToolError> {
        let client = if private_addresses { &self.private } else { &self.public };
        let build = || build(CheckedResolver { inner: Arc::clone(&self.resolver), private_addresses });
        client.get_or_init(build).as_ref().map_err(|error| unavailable(format!("no http client: {error}")))
    }
}

fn build(resolver: CheckedResolver) -> Result<Client, String> {
    let mut roots = RootCertStore::empty();
    // What does not parse is skipped, as every client does: stores hold certificates of all ages.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .dns_resolver(resolver)
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .http1_only()
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("puna/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| chain(&error))
}

#[async_trait]
impl HttpService for HttpClient {
    async fn send(&self, request: HttpRequest, bounds: HttpBounds) -> Result<HttpResponse, ToolError> {
        let wrong = |message: String| ToolError::new(ToolErrorKind::InvalidInput, message);
        let url = parse_url(&request.url).map_err(|error| wrong(error.to_string()))?;
        // Numbers are dialled without asking the resolver.
        let number = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            _ => None,
        };
        if let Some(address) = number.filter(|address| !bounds.private_addresses && !is_public(*address)) {
            return Err(not_public(&address.to_string(), &[address]));
        }
        let method = Method::from_bytes(request.method.as_bytes())
            .map_err(|_| wrong(format!("`{}` is no method", scrub(&request.method, 40))))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let unsound = || wrong(format!("the header `{}` is not sound", scrub(name, 60)));
            if value.len() > MAX_HEADER_BYTES {
                return Err(unsound());
            }
            let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unsound())?;
            let mut value = HeaderValue::from_str(value).map_err(|_| unsound())?;
            value.set_sensitive(true);
            headers.append(key, value);
        }
        let sent = self.client(bounds.private_addresses)?.request(method, url).headers(headers);
        let sent = if request.body.is_empty() { sent } else { sent.body(request.body) };
        let mut response = sent.send().await.map_err(|error| failed(&error))?;
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .take(MAX_RESPONSE_HEADERS)
            .filter_map(|(name, value)| {
                let value = value.to_str().ok().filter(|value| value.len() <= MAX_HEADER_BYTES)?;
                Some((name.as_str().to_owned(), value.to_owned()))
            })
            .collect();
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| failed(&error))? {
            if (body.len() + piece.len()) as u64 > bounds.body_bytes {
                return Err(ToolError::new(
                    ToolErrorKind::TooLarge,
                    format!("the answer takes more than {} bytes", bounds.body_bytes),
                ));
            }
            body.extend_from_slice(&piece);
        }
        Ok(HttpResponse { status, headers, body })
    }
}

struct CheckedResolver {
    inner: Arc<dyn Resolver>,
    private_addresses: bool,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (inner, private_addresses) = (Arc::clone(&self.inner), self.private_addresses);
        Box::pin(async move {
            let host = name.as_str();
            let addresses = inner.resolve(host).await?;
            // One that is not public condemns the rest: an honest name has none.
            if !private_addresses && addresses.iter().any(|address| !is_public(*address)) {
                return Err(NotPublic { host: host.to_owned(), addresses }.into());
            }
            let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}

/// A name that points at this machine or its network.
#[derive(Debug)]
struct NotPublic {
    host: String,
    addresses: Vec<IpAddr>,
}

impl fmt::Display for NotPublic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}` is not public", self.host)
    }
}

impl StdError for NotPublic {}

fn not_public(host: &str, addresses: &[IpAddr]) -> ToolError {
    // The addresses of the user's own network are none of the guest's business.
    tracing::warn!(host, ?addresses, "a request to an address that is not public is denied");
    ToolError::new(
        ToolErrorKind::Denied,
        format!(
            "`{}` is at an address that is not public; such addresses need `private_addresses`",
            scrub(host, 200)
        ),
    )
}

fn failed(error: &reqwest::Error) -> ToolError {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(inner) = cause {
        if let Some(found) = inner.downcast_ref::<NotPublic>() {
            return not_public(&found.host, &found.addresses);
        }
        cause = inner.source();
    }
    let kind = if error.is_timeout() { ToolErrorKind::Timeout } else { ToolErrorKind::Unavailable };
    ToolError::new(kind, scrub(&chain(error), 300))
}

fn unavailable(message: String) -> ToolError {
    ToolError::new(ToolErrorKind::Unavailable, scrub(&message, 300))
}

/// An error with its causes, without repetitions.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = inner.source();
    }
    text
}
