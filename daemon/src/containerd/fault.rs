//! What containerd may answer instead of doing what it was asked, by what can be done about it.

use std::{path::PathBuf, time::Duration};

use snap_api::{ErrorCode, ErrorReport};

/// A refusal of containerd, or its silence.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// There is no such thing; check the name and the namespace.
    #[error("Cannot {op} {name}: {why}")]
    NotFound {
        /// What was tried, as a verb and the kind of thing.
        op: &'static str,
        /// On what.
        name: String,
        /// containerd's words.
        why: String,
    },
    /// There is one already; choose another name.
    #[error("Cannot {op} {name}: {why}")]
    Exists {
        /// What was tried.
        op: &'static str,
        /// On what.
        name: String,
        /// containerd's words.
        why: String,
    },
    /// containerd would not; its words say why.
    #[error("Cannot {op} {name}: {why}")]
    Refused {
        /// What was tried.
        op: &'static str,
        /// On what.
        name: String,
        /// containerd's words.
        why: String,
    },
    /// Nobody answers; start containerd or correct its path.
    #[error("containerd at {path} cannot be reached: {why}", path = path.display())]
    Unavailable {
        /// Its socket.
        path: PathBuf,
        /// The system's words.
        why: String,
    },
    /// containerd answers, but the container's shim does not.
    #[error("containerd cannot say whether container {name} runs: its shim does not answer")]
    Unsaid {
        /// The container.
        name: String,
    },
    /// It has not answered in time; it may still do what it was asked.
    #[error("containerd took more than {} s to {op} {name}", limit.as_secs())]
    TimedOut {
        /// What was tried.
        op: &'static str,
        /// On what.
        name: String,
        /// For how long.
        limit: Duration,
    },
}

impl Fault {
    /// Reasons of reports of silence, which passes when containerd answers again.
    pub(crate) const SILENCE: [&str; 3] = ["containerd-away", "shim-silent", "containerd-slow"];

    /// An answer that lacks the thing it should hold.
    pub(crate) fn absent(op: &'static str, name: &str) -> Self {
        Self::NotFound {
            op,
            name: name.to_owned(),
            why: "the answer is empty".to_owned(),
        }
    }

    /// `None` when containerd positively said that the thing is not there; every other fault stays one.
    pub fn absent_as_none<T>(answer: Result<T, Self>) -> Result<Option<T>, Self> {
        match answer {
            Ok(found) => Ok(Some(found)),
            Err(Self::NotFound { .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// True when nothing can be said of the thing, because containerd or a shim does not answer.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        matches!(
            self,
            Self::Unavailable { .. } | Self::Unsaid { .. } | Self::TimedOut { .. }
        )
    }
}

impl From<Fault> for ErrorReport {
    fn from(fault: Fault) -> Self {
        let (code, reason) = match &fault {
            Fault::NotFound { .. } => (ErrorCode::NotFound, "not-in-containerd"),
            Fault::Exists { .. } => (ErrorCode::Conflict, "exists-in-containerd"),
            Fault::Refused { .. } => (ErrorCode::Internal, "containerd-refused"),
            Fault::Unavailable { .. } => (ErrorCode::Unavailable, "containerd-away"),
            Fault::Unsaid { .. } => (ErrorCode::Unavailable, "shim-silent"),
            Fault::TimedOut { .. } => (ErrorCode::Unavailable, "containerd-slow"),
        };
        let report = Self::new(code, reason, fault.to_string());
        match &fault {
            Fault::Unavailable { path, .. } => {
                report.hint(format!("Is containerd running at {}?", path.display()))
            }
            Fault::NotFound { .. } => report.hint("Check the id and the namespace"),
            Fault::Unsaid { .. } => {
                report.hint("Try again; on a host without free processors it may take a while")
            }
            Fault::Exists { .. } => report.hint("Choose another id"),
            Fault::Refused { .. } | Fault::TimedOut { .. } => report,
        }
    }
}

impl From<Fault> for crate::Error {
    fn from(fault: Fault) -> Self {
        Self::Report(fault.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_known_by_its_reason() {
        let (op, name) = ("look up container", "a".to_owned());
        for fault in [
            Fault::Unavailable {
                path: "/run/c.sock".into(),
                why: String::new(),
            },
            Fault::Unsaid { name: name.clone() },
            Fault::TimedOut {
                op,
                name: name.clone(),
                limit: Duration::ZERO,
            },
            Fault::absent(op, &name),
        ] {
            let is_silence = fault.is_silence();
            let report = ErrorReport::from(fault);
            assert_eq!(Fault::SILENCE.contains(&&*report.reason), is_silence);
        }
    }

    #[test]
    fn silence_is_never_taken_for_absence() {
        let away = Fault::Unavailable {
            path: "/run/c.sock".into(),
            why: "Connection refused".to_owned(),
        };
        assert!(away.is_silence());
        assert!(Fault::absent_as_none::<()>(Err(away)).is_err());
        assert!(matches!(
            Fault::absent_as_none::<()>(Err(Fault::absent("look up container", "a"))),
            Ok(None)
        ));
    }
}
