use std::{error::Error as StdError, fmt};

/// `Result` with Puna's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, coarse enough to act on: a caller retries, asks the user, or gives up by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller gave something that can never work: bad syntax, wrong type, unknown option.
    InvalidInput,
    /// A file, model, session, tool or plugin that was named does not exist.
    NotFound,
    /// Permission or grant is missing.
    Denied,
    /// The prompt and the room asked for its answer do not fit the model's context.
    ContextOverflow,
    /// Somebody else holds it, or wrote first: another process has the data folder, a session moved on.
    Conflict,
    /// A limit on memory, disk, size or count was reached.
    ResourceExhausted,
    /// A deadline passed.
    Timeout,
    /// The caller cancelled.
    Cancelled,
    /// Something outside this process is needed and is not there: the network, a shared library.
    Unavailable,
    /// Stored data does not read back as it was written.
    Corrupt,
    /// The operating system refused to read or write.
    Io,
    /// A defect in Puna or in a library below it.
    Internal,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::InvalidInput,
        Self::NotFound,
        Self::Denied,
        Self::ContextOverflow,
        Self::Conflict,
        Self::ResourceExhausted,
        Self::Timeout,
        Self::Cancelled,
        Self::Unavailable,
        Self::Corrupt,
        Self::Io,
        Self::Internal,
    ];

    /// The kind that [`as_str`](Self::as_str) writes so.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The kind in lower-case words joined by `_`, as logs and JSON output show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid_input",
            Self::NotFound => "not_found",
            Self::Denied => "denied",
            Self::ContextOverflow => "context_overflow",
            Self::Conflict => "conflict",
            Self::ResourceExhausted => "resource_exhausted",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Unavailable => "unavailable",
            Self::Corrupt => "corrupt",
            Self::Io => "io",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Puna's error: a [kind](ErrorKind) to act on, a message that names the thing, the value and the
/// remedy, and the error underneath, if any.
///
/// ```
/// use puna_core::{Error, ErrorKind};
/// let error = Error::new(ErrorKind::NotFound, "no session `lunch`; `puna sessions list` shows them");
/// assert_eq!(error.kind(), ErrorKind::NotFound);
/// assert_eq!(error.to_string(), "no session `lunch`; `puna sessions list` shows them");
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of a kind. The message starts in lower case and carries no trailing full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), source: None }))
    }

    /// An [`ErrorKind::InvalidInput`] error.
    pub fn invalid_input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidInput, message)
    }

    /// An [`ErrorKind::Internal`] error.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// An error about a file, its kind taken from the operating system's answer.
    pub fn from_io(
        action: impl fmt::Display,
        path: impl AsRef<std::path::Path>,
        source: std::io::Error,
    ) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match source.kind() {
            Io::NotFound => ErrorKind::NotFound,
            Io::PermissionDenied => ErrorKind::Denied,
            Io::StorageFull | Io::QuotaExceeded | Io::OutOfMemory => ErrorKind::ResourceExhausted,
            _ => ErrorKind::Io,
        };
        Self::new(kind, format!("cannot {action} `{}`", path.as_ref().display())).with_source(source)
    }

    /// Attaches the error underneath.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Puts what was being done in front of the message: `"{what}: {message}"`.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.0.message = format!("{what}: {}", self.0.message);
        self
    }

    /// What went wrong, to act on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message with those of the errors underneath, joined by `: `.
    pub fn report(&self) -> String {
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(error) = source {
            let message = error.to_string();
            if !text.ends_with(&message) {
                text.push_str(": ");
                text.push_str(&message);
            }
            source = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.0.kind, self.report())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
