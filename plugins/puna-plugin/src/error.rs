use std::fmt;

/// Why a call failed: the contract's closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The arguments are not valid; [`Error::path`] points at the one.
    InvalidInput,
    /// What the arguments name does not exist.
    NotFound,
    /// A grant is missing.
    Denied,
    /// Credentials are missing.
    AuthRequired,
    /// Too many calls; [`Error::retry_after_ms`] may say when to come back.
    RateLimited,
    /// A service behind the tool cannot be reached.
    Unavailable,
    /// The call took longer than it may.
    Timeout,
    /// The arguments or the result are larger than allowed.
    TooLarge,
    /// The tool broke.
    Internal,
}

/// A failed call. The model reads the message, so it names the value and the remedy.
///
/// ```
/// use puna_plugin::{Error, ErrorKind};
/// let error = Error::not_found("no time zone `Mars/Olympus`; try `UTC`").at("/zone");
/// assert_eq!((error.kind, error.path.as_deref()), (ErrorKind::NotFound, Some("/zone")));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Why, to act on.
    pub kind: ErrorKind,
    /// Why, in words for the model and the user.
    pub message: String,
    /// The plugin's own code.
    pub code: Option<String>,
    /// JSON pointer to the offending argument.
    pub path: Option<String>,
    /// How long to wait before trying again, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

impl Error {
    /// An error with a kind and a message alone.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), code: None, path: None, retry_after_ms: None }
    }

    /// The arguments are not valid.
    pub fn invalid_input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidInput, message)
    }

    /// What the arguments name does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// The tool broke.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// The same error pointing at an argument, as a JSON pointer (`/expression`).
    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// The same error with the plugin's own code.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
