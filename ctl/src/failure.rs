//! Every way `snapctl` ends but well: what is printed on stderr, and with which exit code.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use snap_api::{ConnectError, ErrorCode, ErrorReport};
use tarpc::client::RpcError;

use crate::{
    screen::{Paint, Stream},
    words::clean,
};

/// Why a command did not end well.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something went wrong, and this says what.
    Report(Box<ErrorReport>),
    /// The command did what it was asked to do, and what it found is bad news that has been printed.
    Found(ErrorCode),
    /// The reader of the output went away (`snapctl list | head -1`); nobody is left to tell.
    OutputClosed,
}

impl Failure {
    /// A malformed request, found before anything was asked.
    pub(crate) fn usage(reason: &str, message: impl Into<String>) -> Self {
        ErrorReport::new(ErrorCode::Usage, reason, message).into()
    }

    /// A system call of the client's own that was refused.
    pub(crate) fn io(op: &str, path: &Path, error: &io::Error) -> Self {
        let code = match error.kind() {
            io::ErrorKind::NotFound => ErrorCode::NotFound,
            io::ErrorKind::PermissionDenied => ErrorCode::Denied,
            _ => ErrorCode::Internal,
        };
        let message = format!("Cannot {op} {}", path.display());
        ErrorReport::new(code, "client-io", message)
            .caused_by(error)
            .into()
    }

    /// A failed write to stdout.
    pub(crate) fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::OutputClosed;
        }
        ErrorReport::new(
            ErrorCode::Internal,
            "output",
            "Cannot write to standard output",
        )
        .caused_by(error)
        .into()
    }

    /// A call whose answer never came; `hint` says what became of the work.
    pub(crate) fn call(error: &RpcError, hint: &str) -> Self {
        let (code, reason, message) = match error {
            RpcError::DeadlineExceeded => (
                ErrorCode::TimedOut,
                "no-answer",
                "The daemon did not answer in time",
            ),
            RpcError::Server(_) => (
                ErrorCode::Unavailable,
                "call-refused",
                "The daemon did not take the call",
            ),
            RpcError::Shutdown | RpcError::Send(_) | RpcError::Channel(_) => (
                ErrorCode::Unavailable,
                "connection-lost",
                "The connection to the daemon was lost",
            ),
        };
        ErrorReport::new(code, reason, message)
            .caused_by(error)
            .hint(hint)
            .into()
    }

    /// The exit code of this end.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Report(report) => report.code.exit_code(),
            Self::Found(code) => code.exit_code(),
            Self::OutputClosed => 0,
        }
    }

    /// Prints what there is to say and turns into the exit code.
    pub(crate) fn tell(&self) -> ExitCode {
        if let Self::Report(report) = self {
            let text = render(report, Paint::of(Stream::Stderr));
            // Nothing can be done for a reader who closed stderr as well.
            let _ = io::stderr().lock().write_all(text.as_bytes());
        }
        ExitCode::from(self.exit_code())
    }
}

impl From<ErrorReport> for Failure {
    fn from(report: ErrorReport) -> Self {
        Self::Report(Box::new(report))
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let (code, reason, hint) = match &error {
            ConnectError::Refused(report) => return report.clone().into(),
            ConnectError::Socket { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                (
                    ErrorCode::Denied,
                    "socket-denied",
                    "be root, or join the socket's group: `usermod -aG snapshotd USER`, then log in again",
                )
            }
            ConnectError::Socket { .. } => (
                ErrorCode::Unavailable,
                "no-daemon",
                "is snapshotd running? `systemctl status snapshotd`; another socket is chosen with --socket",
            ),
            ConnectError::Silent { .. } => (
                ErrorCode::Unavailable,
                "silent-daemon",
                "the daemon's log says why: `journalctl -u snapshotd`",
            ),
        };
        let mut report = ErrorReport::new(code, reason, error.to_string()).hint(hint);
        if let Some(source) = std::error::Error::source(&error) {
            report = report.caused_by(source);
        }
        report.into()
    }
}

/// The text of a report: message, causes indented, hint.
fn render(report: &ErrorReport, paint: Paint) -> String {
    let mut text = format!("{} {}\n", paint.bad("error:"), clean(&report.message));
    for cause in &report.causes {
        let _ = writeln!(text, "  caused by: {}", clean(cause));
    }
    if let Some(hint) = &report.hint {
        let _ = writeln!(text, "{} {}", paint.strong("hint:"), clean(hint));
    }
    text
}

/// What an exit code means, for `--help` and the manual.
fn meaning(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::Internal => "internal: a bug, or an unexpected answer of the system",
        ErrorCode::Usage => "usage: the command or one of its arguments is malformed",
        ErrorCode::NotFound => "not found: no such snapshot, container, path, job or name",
        ErrorCode::Conflict => "conflict: it is there, but not in a state that allows this",
        ErrorCode::Limit => "limit: a configured limit would be exceeded",
        ErrorCode::Denied => "denied: you may not do this, or not use the socket",
        ErrorCode::Unavailable => {
            "unavailable: the daemon, or something it needs, is missing or full"
        }
        ErrorCode::Corrupt => "corrupt: stored data does not match its digest or format",
        ErrorCode::TimedOut => "timed out: the answer did not come in time",
        ErrorCode::Cancelled => "cancelled: somebody stopped the job",
    }
}

/// The table of exit codes at the end of `--help`.
pub(crate) fn exit_codes_help() -> String {
    let mut text = String::from("Exit codes:\n   0  well done\n");
    for code in ErrorCode::ALL {
        let _ = writeln!(text, "  {:>2}  {}", code.exit_code(), meaning(code));
    }
    text
}

#[cfg(test)]
mod tests;
