//! The CRIU of this host: whether there is one, and whether it fits the kernel that runs.
//!
//! It is runc that runs it for containers; the daemon looks at the one in its own PATH.

use std::fs;

use snap_api::{ErrorCode, ErrorReport};

use crate::{
    error::Result,
    programs::{Ran, first_line, run, version},
};

/// The oldest CRIU that works on today's kernels; 3.17 fails on 6.18.
const LEAST: (u32, u32) = (4, 2);

/// What is known of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Criu {
    /// It cannot be run, for this reason.
    Missing(String),
    /// It works on this kernel.
    Fit(String),
    /// It is new enough, and more cannot be seen from within the daemon's service.
    Untold(String),
    /// It does not work on this kernel.
    Unfit {
        /// What it calls itself.
        found: String,
        /// What its check says.
        why: String,
    },
    /// It does not say.
    Silent {
        /// What it calls itself.
        found: String,
        /// Why not.
        why: String,
    },
}

impl Criu {
    /// Asks it.
    pub(crate) async fn look() -> Self {
        let printed = run("criu", &["--version"]).await;
        Self::judge(&printed, &run("criu", &["check"]).await, is_confined())
    }

    /// Whether it works on a kernel cannot be told from versions alone: `check` is what `criu check` makes of this one.
    pub(crate) fn judge(printed: &Ran, check: &Ran, is_confined: bool) -> Self {
        let found = match printed {
            Ran::Well(text) => first_line(text).to_owned(),
            Ran::Badly(why) | Ran::NotAtAll(why) => return Self::Missing(why.clone()),
        };
        let is_new = version(&found).is_some_and(|found| found >= LEAST);
        match check {
            Ran::Well(_) => Self::Fit(found),
            // It is runc that runs it, outside of the daemon's service and what that forbids.
            Ran::Badly(_) | Ran::NotAtAll(_) if is_confined && is_new => Self::Untold(found),
            // An older one may fit an older kernel.
            Ran::Badly(why) if !is_confined => Self::Unfit {
                found,
                why: why.clone(),
            },
            Ran::Badly(why) | Ran::NotAtAll(why) => Self::Silent {
                found,
                why: why.clone(),
            },
        }
    }

    /// Nothing when a capture may be tried.
    ///
    /// # Errors
    /// `criu-unfit` when it would only make a container stand still in vain.
    pub(super) fn require(&self) -> Result<()> {
        let why = match self {
            Self::Missing(why) => format!("it cannot be run: {why}"),
            Self::Unfit { found, why } => format!("{found}: `criu check`: {why}"),
            Self::Fit(_) | Self::Untold(_) | Self::Silent { .. } => return Ok(()),
        };
        let message = format!("CRIU does not work on this host: {why}");
        Err(
            ErrorReport::new(ErrorCode::Unavailable, "criu-unfit", message)
                .hint("`snapctl doctor` says what to do about it; files are captured without --memory")
                .into(),
        )
    }
}

/// Its version, or why there is none.
pub(super) async fn found() -> Result<String, String> {
    match run("criu", &["--version"]).await {
        Ran::Well(text) => Ok(number(first_line(&text)).to_owned()),
        Ran::Badly(why) | Ran::NotAtAll(why) => Err(why),
    }
}

/// `4.2.1` of `Version: 4.2.1`.
fn number(text: &str) -> &str {
    text.trim_start_matches(|letter: char| !letter.is_ascii_digit())
}

/// True when a CRIU of version `reader` may not know what one of version `writer` has written. The last number of a version
/// stands for corrections alone.
pub(super) fn is_older(reader: &str, writer: &str) -> bool {
    match (version(reader), version(writer)) {
        (Some(reader), Some(writer)) => reader < writer,
        _ => false,
    }
}

/// True when system calls are filtered, as systemd's unit has it: CRIU's check fails of that alone.
fn is_confined() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mode = status
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp:"));
    mode.is_some_and(|mode| mode.trim() != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(text: &str) -> Ran {
        Ran::Well(text.to_owned())
    }

    #[test]
    fn nothing_stands_still_for_a_criu_that_cannot_work() {
        let failed = || Ran::Badly("exit status: 1: vdso: no".to_owned());
        let unfit = Criu::judge(&printed("Version: 3.17.1\n"), &failed(), false);
        let report = ErrorReport::from(unfit.require().unwrap_err());
        assert_eq!(report.reason, "criu-unfit");
        assert!(report.message.contains("3.17.1") && report.message.contains("vdso: no"));
        let missing = Ran::NotAtAll("criu: No such file".to_owned());
        assert!(Criu::judge(&missing, &failed(), false).require().is_err());
        for (check, is_confined) in [
            (printed("Looks good.\n"), false),
            (failed(), true),
            (Ran::NotAtAll("no answer".to_owned()), false),
        ] {
            let criu = Criu::judge(&printed("Version: 4.2.1\n"), &check, is_confined);
            criu.require().unwrap();
        }
        let old = Criu::judge(&printed("Version: 3.17.1\n"), &failed(), true);
        old.require().unwrap();
    }

    #[test]
    fn an_older_criu_may_not_know_what_a_newer_one_has_written() {
        assert!(is_older("3.17.1", "4.2.1"));
        assert!(is_older("4.1", "4.2"));
        assert!(!is_older("4.2", "4.2.1"));
        assert!(!is_older("5.0", "4.2.1"));
        assert!(!is_older("4.2", ""));
        assert_eq!(number("Version: 4.2.1"), "4.2.1");
    }
}
