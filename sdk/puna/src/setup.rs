use puna_inference::provision::ProvisionProgress;

/// What takes long the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetupProgress {
    /// What is done now, as a line to show.
    Line(String),
    /// How much of what the last line told of is done.
    Bytes {
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
}

impl From<ProvisionProgress> for SetupProgress {
    fn from(progress: ProvisionProgress) -> Self {
        match progress {
            ProvisionProgress::Received { done, total } => Self::Bytes { done, total },
            other => Self::Line(other.line().unwrap_or_default()),
        }
    }
}
