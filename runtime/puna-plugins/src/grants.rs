use std::{collections::BTreeSet, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something of the world that a guest can be allowed to use: a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// The wall clock.
    Clock,
}

impl Grant {
    /// The grant as `agent.yaml` and `plugin.toml` write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clock => "clock",
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What a plugin may use. The default is nothing.
///
/// ```
/// use puna_plugins::{Grant, Grants};
/// let grants: Grants = serde_json::from_str(r#"["clock"]"#).unwrap();
/// assert!(grants.has(Grant::Clock));
/// assert!(!Grants::default().has(Grant::Clock));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Grants(BTreeSet<Grant>);

impl Grants {
    /// Whether the grant is given.
    pub fn has(&self, grant: Grant) -> bool {
        self.0.contains(&grant)
    }

    /// The grants, in order.
    pub fn iter(&self) -> impl Iterator<Item = Grant> {
        self.0.iter().copied()
    }
}

impl<const N: usize> From<[Grant; N]> for Grants {
    fn from(grants: [Grant; N]) -> Self {
        Self(grants.into())
    }
}

impl FromIterator<Grant> for Grants {
    fn from_iter<I: IntoIterator<Item = Grant>>(grants: I) -> Self {
        Self(grants.into_iter().collect())
    }
}
