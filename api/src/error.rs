//! Errors as they cross the socket: a code a program can act on, and the words a person needs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of failure it was; decides the exit code of `snapctl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// A bug or an unexpected answer of the system.
    Internal,
    /// The request itself is malformed: a name, a duration, a combination of options.
    Usage,
    /// No such snapshot, container, path, job or tag.
    NotFound,
    /// The thing is there, but not in a state that allows this.
    Conflict,
    /// A configured limit would be exceeded.
    Limit,
    /// The peer may not do this.
    Denied,
    /// Something the daemon depends on is missing, full or not answering.
    Unavailable,
    /// Stored data does not match its digest or its format.
    Corrupt,
    /// The deadline passed before the operation ended.
    TimedOut,
    /// Somebody cancelled the job.
    Cancelled,
}

impl ErrorCode {
    /// Every code, in the order of the documented table.
    pub const ALL: [Self; 10] = [
        Self::Internal,
        Self::Usage,
        Self::NotFound,
        Self::Conflict,
        Self::Limit,
        Self::Denied,
        Self::Unavailable,
        Self::Corrupt,
        Self::TimedOut,
        Self::Cancelled,
    ];

    /// The exit code of `snapctl` for this kind of failure.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Conflict => 4,
            Self::Limit => 5,
            Self::Denied => 6,
            Self::Unavailable => 7,
            Self::Corrupt => 8,
            Self::TimedOut => 9,
            Self::Cancelled => 10,
        }
    }
}

/// One failure: what happened to which thing, what to do about it, and what lay beneath.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ErrorReport {
    /// The kind of failure.
    pub code: ErrorCode,
    /// A stable word for the exact situation, for programs: `not-running`, `limit-exceeded`, `not-active`.
    pub reason: String,
    /// One sentence, naming the thing.
    pub message: String,
    /// What the reader can do, when there is something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What lay beneath, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
}

impl ErrorReport {
    /// A report without hint and causes.
    pub fn new(code: ErrorCode, reason: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.to_owned(),
            message: message.into(),
            hint: None,
            causes: Vec::new(),
        }
    }

    /// The same report with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same report with the chain of sources of `error`, `error` itself first.
    #[must_use]
    pub fn caused_by(mut self, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(cause) = next {
            self.causes.push(cause.to_string());
            next = cause.source();
        }
        self
    }
}

impl fmt::Display for ErrorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}
