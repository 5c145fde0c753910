//! What users agreed that agents lend to plugins.
//!
//! An agent's file says what a plugin is granted. Where a person sits before it, the person sees that first, and what they
//! agreed to is on record in the data folder until they revoke it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use puna_core::{Error, ErrorKind, Result};
use puna_plugins::{Ask, Grant, Inspection};
use puna_spec::AgentSpec;
use serde::{Deserialize, Serialize};

use crate::{
    Stack,
    plugin_setup::grants,
    stack::{AgentBuilder, blocking},
};

/// The folder of consents within the data folder: a file for each plugin of each agent. Not in the store, which one
/// process holds at a time and an agent without memory never opens.
const FOLDER: &str = "consents";

/// Largest file of a consent: a manifest's asks and a file's grants are bounded, and this is beyond both.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What an agent's file lends to a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lending {
    /// The agent's name.
    pub agent: String,
    /// The plugin's name.
    pub plugin: String,
    /// The plugin's version.
    pub version: String,
    /// SHA-256 of the component, in hexadecimal.
    pub digest: String,
    /// Every grant in words.
    pub grants: BTreeSet<String>,
    /// What the plugin asks for, and why.
    pub asks: BTreeMap<Grant, Ask>,
}

impl Lending {
    fn new(agent: &str, given: &[puna_spec::Grant], inspection: &Inspection) -> Result<Self> {
        let mut lines = BTreeSet::from_iter(grants(given)?.lines());
        for grant in given {
            if let puna_spec::Grant::Secrets(secrets) = grant {
                lines.extend(
                    secrets
                        .iter()
                        .map(|(name, secret)| format!("secrets: `{name}` is what `{}` holds", secret.env)),
                );
            }
        }
        let manifest = &inspection.manifest;
        Ok(Self {
            agent: agent.to_owned(),
            plugin: manifest.name.clone(),
            version: manifest.version.clone(),
            digest: inspection.digest.clone(),
            grants: lines,
            asks: manifest.asks.clone(),
        })
    }

    /// The grants that `agreed` does not have; all of them where it is none.
    pub fn new_grants(&self, agreed: Option<&Self>) -> Vec<&str> {
        let known = |line: &&String| agreed.is_some_and(|agreed| agreed.grants.contains(*line));
        self.grants.iter().filter(|line| !known(line)).map(String::as_str).collect()
    }

    /// What the plugin asks for that `agreed` does not have, in kind or extent; all of it where it is none.
    pub fn new_asks(&self, agreed: Option<&Self>) -> Vec<(Grant, &Ask)> {
        // Asking without naming an extent is asking for any.
        let within = |ask: &Ask, before: &Ask| {
            before.wants.is_empty()
                || !ask.wants.is_empty() && ask.wants.iter().all(|want| before.wants.contains(want))
        };
        let known = |grant: &Grant, ask: &Ask| {
            agreed.and_then(|agreed| agreed.asks.get(grant)).is_some_and(|before| within(ask, before))
        };
        self.asks.iter().filter(|(grant, ask)| !known(grant, ask)).map(|(grant, ask)| (*grant, ask)).collect()
    }

    /// Adds what was agreed before: it holds until it is revoked.
    fn joined(mut self, before: Self) -> Self {
        self.grants.extend(before.grants);
        for (grant, mut ask) in before.asks {
            match self.asks.get_mut(&grant) {
                None => {
                    self.asks.insert(grant, ask);
                }
                // No extent is any.
                Some(now) if now.wants.is_empty() || ask.wants.is_empty() => now.wants.clear(),
                Some(now) => {
                    ask.wants.retain(|want| !now.wants.contains(want));
                    now.wants.append(&mut ask.wants);
                }
            }
        }
        self
    }
}

/// How far a [`Consent`] goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsentState {
    /// A person saw it and agreed.
    Agreed,
    /// The agent ran with what its file says, and nobody was there to be shown it.
    FromFile,
    /// Taken back: the agent does not start until somebody agrees again.
    Revoked,
}

/// What is on record for a plugin of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// How far it goes.
    pub state: ConsentState,
    /// When it was recorded, in milliseconds since 1970.
    pub time_ms: u64,
    /// What is lent.
    #[serde(flatten)]
    pub lending: Lending,
}

/// Whoever is asked whether a plugin may have what a file lends it; knows what was on record.
pub(crate) type AskConsent = Arc<dyn Fn(&Lending, Option<&Consent>) -> bool + Send + Sync>;

impl AgentBuilder {
    /// Asks before a plugin is first lent what the spec says, and again when that grows, when a new version of the plugin
    /// asks for more, or after it was [revoked](Stack::revoke). What `ask` agrees to is recorded, and not asked again; what
    /// it refuses fails the [build](Self::build) with [`Denied`](ErrorKind::Denied). `ask` may block.
    ///
    /// Without it the spec is the consent, which is recorded too; but a new version that asks for more, and what was
    /// revoked, are refused.
    #[must_use]
    pub fn ask_consent(
        mut self,
        ask: impl Fn(&Lending, Option<&Consent>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.consent = Some(Arc::new(ask));
        self
    }
}

impl Stack {
    /// What the plugins of a spec are lent. Runs none of them.
    ///
    /// # Errors
    /// A component that is missing or not sound, what is no origin.
    pub fn lendings(&self, spec: &AgentSpec) -> Result<Vec<Lending>> {
        let retrievers = spec.knowledge.iter().flat_map(|knowledge| &knowledge.retrievers);
        let plugins = spec.tools.iter().map(|tool| (&tool.plugin, &tool.grants));
        plugins
            .chain(retrievers.map(|retriever| (&retriever.plugin, &retriever.grants)))
            .map(|(plugin, given)| Lending::new(&spec.name, given, &puna_plugins::inspect_file(plugin)?))
            .collect()
    }

    /// Every consent on record, by agent and plugin.
    ///
    /// # Errors
    /// Those of reading the data folder.
    pub fn consents(&self) -> Result<Vec<Consent>> {
        let folder = self.data_dir().join(FOLDER);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::from_io("read", &folder, error)),
        };
        let mut consents = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| Error::from_io("read", &folder, error))?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                consents.extend(read(&path)?);
            }
        }
        consents.sort_by(|a, b| {
            (&a.lending.agent, &a.lending.plugin).cmp(&(&b.lending.agent, &b.lending.plugin))
        });
        Ok(consents)
    }

    /// What is on record for a plugin of an agent.
    ///
    /// # Errors
    /// Those of reading the data folder; [`Corrupt`](ErrorKind::Corrupt) for a record that does not read.
    pub fn consent(&self, agent: &str, plugin: &str) -> Result<Option<Consent>> {
        read(&self.consent_path(agent, plugin)?)
    }

    /// Records that a person agreed to what a plugin is lent, beside what they agreed to before. It is durable when this
    /// returns.
    ///
    /// # Errors
    /// Those of writing to the data folder.
    pub fn agree(&self, lending: &Lending) -> Result<()> {
        self.record(lending, ConsentState::Agreed)
    }

    /// Takes a consent back: the agent does not start with this plugin until somebody agrees again.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) when there is none on record.
    pub fn revoke(&self, agent: &str, plugin: &str) -> Result<()> {
        let path = self.consent_path(agent, plugin)?;
        let Some(consent) = read(&path)? else {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("nothing is on record for plugin `{plugin}` of agent `{agent}`"),
            ));
        };
        write(&path, &Consent { state: ConsentState::Revoked, time_ms: now_ms(), ..consent })
    }

    /// Holds what a plugin is about to be lent against the record; asks where somebody is there to be asked.
    ///
    /// # Errors
    /// [`Denied`](ErrorKind::Denied) naming what is not agreed to.
    pub(crate) async fn check_consent(
        &self,
        given: &[puna_spec::Grant],
        agent: &str,
        inspection: &Inspection,
        ask: Option<&AskConsent>,
    ) -> Result<()> {
        let lending = Lending::new(agent, given, inspection)?;
        let (stack, ask) = (self.clone(), ask.cloned());
        blocking(move || stack.consent_to(&lending, ask.as_ref())).await
    }

    fn consent_to(&self, lending: &Lending, ask: Option<&AskConsent>) -> Result<()> {
        let before = self.consent(&lending.agent, &lending.plugin)?;
        let agreed = before
            .as_ref()
            .filter(|before| before.state != ConsentState::Revoked)
            .map(|before| &before.lending);
        let (grants, asks) = (lending.new_grants(agreed), lending.new_asks(agreed));
        let revoked = before.is_some() && agreed.is_none();
        let grown = !grants.is_empty() || !asks.is_empty();
        let denied = |why: String| {
            let Lending { agent, plugin, version, .. } = lending;
            Error::new(ErrorKind::Denied, format!("plugin `{plugin}` {version} of agent `{agent}`: {why}"))
        };
        if let Some(ask) = ask {
            let shown = before.as_ref().is_some_and(|before| before.state == ConsentState::Agreed);
            let lent = !lending.grants.is_empty() || !lending.asks.is_empty();
            if !revoked && !grown && (shown || !lent) {
                return Ok(());
            }
            return match ask(lending, before.as_ref()) {
                true => self.agree(lending),
                false => Err(denied("what it may use was not agreed to".to_owned())),
            };
        }
        if revoked {
            return Err(denied(
                "what it may use was revoked; `puna plugin allow` shows it and agrees again".to_owned(),
            ));
        }
        if agreed.is_some() && !asks.is_empty() {
            let asks: Vec<String> = asks.iter().map(|(grant, _)| format!("`{grant}`")).collect();
            return Err(denied(format!(
                "it asks for more than was agreed to: {}; `puna plugin allow` shows why and agrees",
                asks.join(", ")
            )));
        }
        if grown && let Err(error) = self.record(lending, ConsentState::FromFile) {
            // The file's word is enough to run, also over a data folder that cannot be written.
            tracing::warn!(%error, agent = lending.agent, plugin = lending.plugin, "a consent is not recorded");
        }
        Ok(())
    }

    fn record(&self, lending: &Lending, state: ConsentState) -> Result<()> {
        let path = self.consent_path(&lending.agent, &lending.plugin)?;
        let before = read(&path)?.filter(|before| before.state != ConsentState::Revoked);
        let lending = match before {
            Some(before) => lending.clone().joined(before.lending),
            None => lending.clone(),
        };
        write(&path, &Consent { state, time_ms: now_ms(), lending })
    }

    fn consent_path(&self, agent: &str, plugin: &str) -> Result<PathBuf> {
        let is_name = |name: &str| {
            (1..=128).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        };
        match [agent, plugin].into_iter().find(|name| !is_name(name)) {
            Some(name) => Err(Error::invalid_input(format!(
                "`{}` is no name of an agent or plugin: letters, digits, `_` and `-`",
                name.escape_debug()
            ))),
            None => Ok(self.data_dir().join(FOLDER).join(format!("{agent}.{plugin}.json"))),
        }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn read(path: &Path) -> Result<Option<Consent>> {
    let corrupt = |what: String| {
        Error::new(
            ErrorKind::Corrupt,
            format!("the consent `{}` {what}; remove it to be asked again", path.display()),
        )
    };
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::from_io("read", path, error)),
        Ok(metadata) if metadata.len() > MAX_FILE_BYTES => {
            return Err(corrupt(format!("takes {} bytes of {MAX_FILE_BYTES}", metadata.len())));
        }
        Ok(_) => {}
    }
    let text = fs::read(path).map_err(|error| Error::from_io("read", path, error))?;
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| corrupt("does not read".to_owned()).with_source(error))
}

/// Old or new, never half, and durable when it returns.
fn write(path: &Path, consent: &Consent) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    let failed = |error| Error::from_io("write", path, error);
    let text = serde_json::to_vec_pretty(consent)
        .map_err(|error| Error::internal("a consent does not serialise").with_source(error))?;
    fs::create_dir_all(folder).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(&text).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    // A rename is durable once its folder is.
    #[cfg(unix)]
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(())
}
