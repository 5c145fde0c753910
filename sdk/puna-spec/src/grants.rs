//! What a plugin is granted, as it stands in a file.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    node::{Kind, Node, quote},
    values::Decoder,
};

/// Most names in a grant: secrets, folders, databases.
const MAX_NAMES: usize = 100;

/// Something a plugin can be allowed to do: a word, or a mapping from the word to the extent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Grant {
    /// Read the wall clock.
    Clock,
    /// Draw random bytes.
    Random,
    /// Keep keys and values of its own on the disk.
    Store,
    /// Ask the embedding model.
    Embed,
    /// Ask the agent's language model.
    Generate,
    /// Send requests to these origins.
    Http(#[schemars(with = "Vec<HttpForm>")] Vec<HttpRule>),
    /// Have secrets put into requests, by the name that the plugin uses.
    Secrets(BTreeMap<String, SecretRule>),
    /// Read folders, and write where it says so, by the name that the plugin uses.
    Files(BTreeMap<String, FolderRule>),
    /// Read SQLite databases, by the name that the plugin uses.
    Sql(BTreeMap<String, DatabaseRule>),
}

/// Where requests may go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpRule {
    /// Scheme, host and port: `https://example.com`, `https://*.example.com`, `http://localhost:8080`.
    pub origin: String,
    /// The methods; `GET` and `HEAD` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// Whether the host may be this machine or one of its network.
    #[serde(default)]
    pub private_addresses: bool,
}

/// How a file says where requests may go: mostly the origin alone.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "describes the form")]
enum HttpForm {
    /// The origin, for reading.
    Origin(String),
    /// The origin and more.
    Rule(HttpRule),
}

/// A secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretRule {
    /// The environment variable that holds it.
    pub env: String,
    /// The origins whose requests it is put into.
    pub origins: Vec<String>,
}

/// A folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FolderRule {
    /// The folder; a relative path starts at this file's folder.
    #[schemars(length(min = 1))]
    pub path: PathBuf,
    /// Whether files may be written and removed.
    #[serde(default)]
    pub write: bool,
}

/// A SQLite database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatabaseRule {
    /// The database's file; a relative path starts at this file's folder.
    #[schemars(length(min = 1))]
    pub path: PathBuf,
    /// The tables and views that may be read, a view only with the tables that it reads; all of them without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<Vec<String>>,
}

/// Reads a grant that stands alone, as one of a list: `clock`, `http: [https://example.com]`.
///
/// # Errors
/// Invalid input whose message is the rendered diagnostics.
///
/// ```
/// use puna_spec::Grant;
/// assert_eq!("clock".parse::<Grant>().unwrap(), Grant::Clock);
/// assert!(matches!("files: {notes: {path: ./notes}}".parse::<Grant>().unwrap(), Grant::Files(_)));
/// ```
impl std::str::FromStr for Grant {
    type Err = puna_core::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        crate::decode::grant(text).map_err(puna_core::Error::from)
    }
}

impl Grant {
    /// The same with relative paths as paths from `folder`.
    #[must_use]
    pub fn resolved(mut self, folder: &std::path::Path) -> Self {
        self.resolve(folder);
        self
    }

    /// Makes relative paths paths from `folder`.
    pub(crate) fn resolve(&mut self, folder: &std::path::Path) {
        // `join` leaves an absolute path as it is.
        match self {
            Self::Files(folders) => {
                folders.values_mut().for_each(|rule| rule.path = folder.join(&rule.path));
            }
            Self::Sql(databases) => {
                databases.values_mut().for_each(|rule| rule.path = folder.join(&rule.path));
            }
            _ => {}
        }
    }
}

#[derive(Clone, Copy)]
enum Word {
    Clock,
    Random,
    Store,
    Embed,
    Generate,
}

impl Decoder<'_> {
    pub(crate) fn grant(&mut self, node: &Node) -> Option<Grant> {
        if !matches!(node.kind, Kind::Mapping(_)) {
            let words = [
                ("clock", Word::Clock),
                ("random", Word::Random),
                ("store", Word::Store),
                ("embed", Word::Embed),
                ("generate", Word::Generate),
            ];
            return Some(match self.word(node, &words)? {
                Word::Clock => Grant::Clock,
                Word::Random => Grant::Random,
                Word::Store => Grant::Store,
                Word::Embed => Grant::Embed,
                Word::Generate => Grant::Generate,
            });
        }
        let told = self.diagnostics.len();
        let mut f = self.fields(node, "a grant")?;
        let grants = [
            self.optional(f.take("http"), |d, n| d.list(n, Self::http_rule)).map(Grant::Http),
            self.optional(f.take("secrets"), |d, n| d.named(n, "secrets", Self::secret_rule))
                .map(Grant::Secrets),
            self.optional(f.take("files"), |d, n| d.named(n, "folders", Self::folder_rule)).map(Grant::Files),
            self.optional(f.take("sql"), |d, n| d.named(n, "databases", Self::database_rule)).map(Grant::Sql),
        ];
        self.finish(f);
        let mut grants = grants.into_iter().flatten();
        match (grants.next(), grants.next()) {
            (Some(grant), None) => Some(grant),
            (None, _) => {
                if self.diagnostics.len() == told {
                    let help = "known: http, secrets, files, sql, each with its extent".to_owned();
                    self.report_help(node.place, "a grant of nothing", Some(help));
                }
                None
            }
            (Some(_), Some(_)) => {
                let help = "begin each with `- ` on a line of its own".to_owned();
                self.report_help(node.place, "several grants in one", Some(help));
                None
            }
        }
    }

    fn http_rule(&mut self, node: &Node) -> Option<HttpRule> {
        if !matches!(node.kind, Kind::Mapping(_)) {
            let origin = self.text(node)?;
            return Some(HttpRule { origin, methods: None, private_addresses: false });
        }
        let mut f = self.fields(node, "an origin")?;
        let origin = self.required(&mut f, "origin", Some("origin: https://example.com"));
        let origin = origin.and_then(|node| self.text(node));
        let methods = self.optional(f.take("methods"), |d, n| d.list(n, Self::text));
        let private_addresses = self.optional(f.take("private_addresses"), Self::boolean).unwrap_or_default();
        self.finish(f);
        Some(HttpRule { origin: origin?, methods, private_addresses })
    }

    fn secret_rule(&mut self, node: &Node) -> Option<SecretRule> {
        let mut f = self.fields(node, "a secret")?;
        let env = self.required(&mut f, "env", Some("env: API_TOKEN")).and_then(|node| self.text(node));
        let origins = self.required(&mut f, "origins", Some("origins: [https://example.com]"));
        let origins = origins.and_then(|node| self.list(node, Self::text));
        self.finish(f);
        Some(SecretRule { env: env?, origins: origins? })
    }

    fn folder_rule(&mut self, node: &Node) -> Option<FolderRule> {
        let mut f = self.fields(node, "a folder")?;
        let path = self.required(&mut f, "path", Some("path: ./notes")).and_then(|node| self.path(node));
        let write = self.optional(f.take("write"), Self::boolean).unwrap_or_default();
        self.finish(f);
        Some(FolderRule { path: path?, write })
    }

    fn database_rule(&mut self, node: &Node) -> Option<DatabaseRule> {
        let mut f = self.fields(node, "a database")?;
        let path = self.required(&mut f, "path", Some("path: shop.db")).and_then(|node| self.path(node));
        let tables = self.optional(f.take("tables"), |d, n| d.list(n, Self::text));
        self.finish(f);
        Some(DatabaseRule { path: path?, tables })
    }

    /// A mapping from names of the author's own.
    fn named<T>(
        &mut self,
        node: &Node,
        what: &str,
        mut value: impl FnMut(&mut Self, &Node) -> Option<T>,
    ) -> Option<BTreeMap<String, T>> {
        let Kind::Mapping(pairs) = &node.kind else {
            return self.expected(node, format_args!("a mapping from names to {what}"));
        };
        if pairs.len() > MAX_NAMES {
            return self.expected(node, format_args!("at most {MAX_NAMES} {what}"));
        }
        let mut named = BTreeMap::new();
        for (key, node) in pairs.iter() {
            let name = match &key.kind {
                Kind::Scalar { text, .. } if crate::decode::is_name(text) => text.to_string(),
                _ => return self.expected(key, format_args!("a name of {}", crate::decode::NAME_FORM)),
            };
            let Some(value) = value(self, node) else { continue };
            if named.insert(name.clone(), value).is_some() {
                self.report(key.place, format!("{} stands here a second time", quote(&name)));
            }
        }
        Some(named)
    }
}
