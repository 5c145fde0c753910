use std::{fmt, str::FromStr};

use puna_core::{Error, Result};
use reqwest::Url;

use crate::guest::scrub;

/// Longest address of a request.
const MAX_URL_BYTES: usize = 8 << 10;

/// Scheme, host and port, where the host may be `*.` and a domain: `https://*.example.com` is every name below
/// `example.com`, and not `example.com` itself.
///
/// ```
/// use puna_plugins::Origin;
/// let origin: Origin = "https://*.example.com".parse().unwrap();
/// assert!(origin.covers("https://api.example.com/v1?q=1"));
/// assert!(!origin.covers("https://example.com/"));
/// assert!(!origin.covers("https://api.example.com.evil.org/"));
/// assert!(!origin.covers("http://api.example.com/"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    scheme: String,
    /// In lower case and, of a name, in ASCII; without the `*.`.
    host: String,
    below: bool,
    port: u16,
}

impl Origin {
    /// Whether an address is of this origin.
    pub fn covers(&self, url: &str) -> bool {
        parse_url(url).is_ok_and(|url| self.covers_url(&url))
    }

    pub(crate) fn covers_url(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else { return false };
        let host_fits = if self.below {
            // The dot must be there: `notexample.com` is not below `example.com`.
            host.strip_suffix(&self.host).is_some_and(|start| start.len() > 1 && start.ends_with('.'))
        } else {
            host == self.host
        };
        host_fits && url.scheme() == self.scheme && url.port_or_known_default() == Some(self.port)
    }
}

impl FromStr for Origin {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            Error::invalid_input(format!(
                "`{}` is no origin: {why}; write it like `https://example.com` or `https://*.example.com:8443`",
                scrub(text, 200)
            ))
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("it has no scheme"))?;
        let below = rest.strip_prefix("*.");
        let url = parse_url(&format!("{scheme}://{}", below.unwrap_or(rest)))
            .map_err(|error| wrong(&error.to_string()))?;
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("a path cannot be granted"));
        }
        let host = url.host_str().unwrap_or_default();
        if host.contains('*') || (below.is_some() && !matches!(url.host(), Some(url::Host::Domain(_)))) {
            return Err(wrong("`*.` stands at the beginning of a name"));
        }
        Ok(Self {
            scheme: url.scheme().to_owned(),
            host: host.to_owned(),
            below: below.is_some(),
            port: url.port_or_known_default().ok_or_else(|| wrong("it has no port"))?,
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.below { "*." } else { "" };
        write!(formatter, "{}://{star}{}", self.scheme, self.host)?;
        match (self.scheme.as_str(), self.port) {
            ("https", 443) | ("http", 80) => Ok(()),
            (_, port) => write!(formatter, ":{port}"),
        }
    }
}

/// An address over http or https, without user and password.
///
/// # Errors
/// Invalid input that says what is wrong with it.
pub(crate) fn parse_url(text: &str) -> Result<Url> {
    let wrong =
        |why: &str| Error::invalid_input(format!("`{}` is no address to request: {why}", scrub(text, 200)));
    if text.len() > MAX_URL_BYTES {
        return Err(wrong(&format!("it takes {} bytes; the most is {MAX_URL_BYTES}", text.len())));
    }
    let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("the scheme must be `http` or `https`"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("it holds a user or password; use a header with a granted secret"));
    }
    Ok(url)
}
