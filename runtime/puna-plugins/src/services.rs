use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use puna_core::{Embedder, Result};

use crate::http::{HttpClient, HttpService};

/// What of the host a granted plugin reaches. A grant whose service is missing answers `unavailable`.
#[derive(Clone)]
pub struct Services {
    /// What [`Grant::Clock`](crate::Grant::Clock) reads.
    pub clock: Clock,
    /// What [`Grant::Random`](crate::Grant::Random) reads.
    pub random: Random,
    /// What [`Grant::Http`](crate::Grant::Http) sends through.
    pub http: Arc<dyn HttpService>,
    /// Where [`Grant::Store`](crate::Grant::Store) keeps keys and values.
    pub store: Option<Arc<dyn KeyValue>>,
    /// What [`Grant::Embed`](crate::Grant::Embed) asks.
    pub embedder: Option<Arc<dyn Embedder>>,
    /// What [`Grant::Generate`](crate::Grant::Generate) asks.
    pub generator: Option<Arc<dyn Generator>>,
}

impl Default for Services {
    /// The machine's clock, randomness and network; no store and no models.
    fn default() -> Self {
        Self {
            clock: Clock::System,
            random: Random::System,
            http: Arc::new(HttpClient::default()),
            store: None,
            embedder: None,
            generator: None,
        }
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Services")
            .field("clock", &self.clock)
            .field("random", &self.random)
            .field("store", &self.store.is_some())
            .field("embedder", &self.embedder.is_some())
            .field("generator", &self.generator.is_some())
            .finish_non_exhaustive()
    }
}

/// A clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// The machine's.
    #[default]
    System,
    /// Always this long after 1970-01-01 UTC, for tests.
    At(Duration),
}

impl Clock {
    /// The time since 1970-01-01 UTC.
    pub(crate) fn now(self) -> Duration {
        match self {
            Self::System => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            Self::At(time) => time,
        }
    }
}

/// A source of randomness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Random {
    /// The operating system's.
    #[default]
    System,
    /// The same bytes in each call, for tests.
    Seed(u64),
}

/// Keys and values in spaces; a space is a plugin's own and a prefix of its keys, never a filter.
#[async_trait]
pub trait KeyValue: Send + Sync {
    /// The values of keys, in their order.
    ///
    /// # Errors
    /// Those of the store.
    async fn get(&self, space: &str, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>>;

    /// Sets the keys that come with a value and deletes the others: all or none, durable when it returns.
    ///
    /// # Errors
    /// Those of the store.
    async fn write(&self, space: &str, changes: Vec<(String, Option<Vec<u8>>)>) -> Result<()>;

    /// At most `limit` keys that begin with `prefix` and come after `after`, in order.
    ///
    /// # Errors
    /// Those of the store.
    async fn keys(&self, space: &str, prefix: &str, after: Option<&str>, limit: usize)
    -> Result<Vec<String>>;
}

/// A language model for plugins.
#[async_trait]
pub trait Generator: Send + Sync {
    /// The answer to a prompt, of at most so many tokens.
    ///
    /// # Errors
    /// Those of the model.
    async fn generate(&self, instructions: Option<&str>, prompt: &str, max_tokens: u32) -> Result<String>;
}
