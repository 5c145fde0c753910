use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    str::FromStr,
};

use puna_core::Error;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::http::Origin;

/// Something of the world that a guest can be allowed to use: a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// The wall clock.
    Clock,
    /// Randomness.
    Random,
    /// Requests to listed origins.
    Http,
    /// Secrets put into those requests.
    Secrets,
    /// Keys and values of its own.
    Store,
    /// Named folders.
    Files,
    /// Named SQLite databases, to read.
    Sql,
    /// The host's embedding model.
    Embed,
    /// The host's language model.
    Generate,
}

impl Grant {
    /// Every grant.
    pub const ALL: [Self; 9] = [
        Self::Clock,
        Self::Random,
        Self::Http,
        Self::Secrets,
        Self::Store,
        Self::Files,
        Self::Sql,
        Self::Embed,
        Self::Generate,
    ];

    /// The grant as `agent.yaml` and `plugin.toml` write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::Random => "random",
            Self::Http => "http",
            Self::Secrets => "secrets",
            Self::Store => "store",
            Self::Files => "files",
            Self::Sql => "sql",
            Self::Embed => "embed",
            Self::Generate => "generate",
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Grant {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|grant| grant.as_str() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join("`, `");
            Error::invalid_input(format!("no grant `{}`; there are `{known}`", crate::guest::scrub(name, 60)))
        })
    }
}

/// What a plugin may use. The default is nothing.
///
/// ```
/// use puna_plugins::{Grant, Grants};
/// let grants = Grants { clock: true, ..Grants::default() };
/// assert!(grants.has(Grant::Clock) && !grants.has(Grant::Http));
/// assert_eq!(Grants::default().iter().count(), 0);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// The wall clock.
    pub clock: bool,
    /// Randomness.
    pub random: bool,
    /// Where requests may go; nowhere while it is empty.
    pub http: Vec<HttpGrant>,
    /// Secrets by name.
    pub secrets: Secrets,
    /// Keys and values of its own, in the store of [`Services`](crate::Services).
    pub store: bool,
    /// Folders by the name that the guest uses.
    pub files: BTreeMap<String, FolderGrant>,
    /// SQLite databases by the name that the guest uses.
    pub sql: BTreeMap<String, SqlGrant>,
    /// The embedding model of [`Services`](crate::Services).
    pub embed: bool,
    /// The language model of [`Services`](crate::Services).
    pub generate: bool,
}

/// Where requests may go, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpGrant {
    /// Scheme, host and port.
    pub origin: Origin,
    /// The methods, in capitals.
    pub methods: BTreeSet<String>,
    /// Whether the host may resolve to an address that is not public: this machine, the local network. Such addresses
    /// are refused otherwise, whatever the name.
    pub private_addresses: bool,
}

impl HttpGrant {
    /// Reading from an origin: `GET` and `HEAD`, at public addresses.
    ///
    /// # Errors
    /// Invalid input when it is no origin like `https://example.com` or `https://*.example.com:8443`.
    pub fn reading(origin: &str) -> Result<Self, Error> {
        Ok(Self {
            origin: origin.parse()?,
            methods: ["GET", "HEAD"].map(str::to_owned).into(),
            private_addresses: false,
        })
    }
}

/// A secret and where it may go.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretGrant {
    /// Its value; none where the host could not find it, which the guest may ask.
    pub value: Option<String>,
    /// The origins whose requests it is put into. Those must be granted too.
    pub origins: Vec<Origin>,
}

/// A folder and what may be done in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderGrant {
    /// The folder.
    pub path: PathBuf,
    /// Whether files may be written and removed.
    pub write: bool,
}

/// A SQLite database, to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlGrant {
    /// The database's file.
    pub path: PathBuf,
    /// The tables and views that may be read, a view only with the tables that it reads; all of them where it is none.
    pub tables: Option<BTreeSet<String>>,
}

/// Secrets by the name that the guest uses.
pub type Secrets = BTreeMap<String, SecretGrant>;

impl Grants {
    /// Whether the grant is given, in whatever extent.
    pub fn has(&self, grant: Grant) -> bool {
        match grant {
            Grant::Clock => self.clock,
            Grant::Random => self.random,
            Grant::Http => !self.http.is_empty(),
            Grant::Secrets => !self.secrets.is_empty(),
            Grant::Store => self.store,
            Grant::Files => !self.files.is_empty(),
            Grant::Sql => !self.sql.is_empty(),
            Grant::Embed => self.embed,
            Grant::Generate => self.generate,
        }
    }

    /// The grants that are given, in order.
    pub fn iter(&self) -> impl Iterator<Item = Grant> {
        Grant::ALL.into_iter().filter(|grant| self.has(*grant))
    }

    /// Every grant in words for whoever gives them, one a line: `files: read and write `notes` (./notes)`. Holds no
    /// secret's value.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for grant in [Grant::Clock, Grant::Random, Grant::Store, Grant::Embed, Grant::Generate] {
            if self.has(grant) {
                lines.push(grant.to_string());
            }
        }
        for http in &self.http {
            let methods: Vec<&str> = http.methods.iter().map(String::as_str).collect();
            let private = if http.private_addresses { ", also at private addresses" } else { "" };
            lines.push(format!("http: {} {}{private}", methods.join(", "), http.origin));
        }
        for (name, secret) in &self.secrets {
            let origins: Vec<String> = secret.origins.iter().map(Origin::to_string).collect();
            lines.push(format!("secrets: `{name}` to {}", origins.join(", ")));
        }
        for (name, folder) in &self.files {
            let access = if folder.write { "read and write" } else { "read" };
            lines.push(format!("files: {access} `{name}` ({})", folder.path.display()));
        }
        for (name, database) in &self.sql {
            let tables = database.tables.as_ref().map(|tables| {
                let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
                format!(", tables {}", tables.join(", "))
            });
            let tables = tables.unwrap_or_default();
            lines.push(format!("sql: read `{name}` ({}{tables})", database.path.display()));
        }
        lines
    }
}

/// Values of secrets never reach a log.
impl fmt::Debug for Grants {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.lines()).finish()
    }
}

impl fmt::Debug for SecretGrant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SecretGrant").field("origins", &self.origins).finish_non_exhaustive()
    }
}
