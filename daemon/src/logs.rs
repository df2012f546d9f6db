//! Where log lines go: text or JSON on standard error, or the journal.

use std::{env, io};

use tracing_subscriber::{
    EnvFilter, Layer, Registry, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::config::{Config, LogFormat};

/// tarpc reports every step of every call; what matters of them is logged where calls are answered.
const QUIET: &str = ",tarpc=warn";

/// Starts logging as configured.
///
/// # Errors
/// When the journal was asked for by `JOURNAL_STREAM` and cannot be reached, or the filter is none.
pub fn start(config: &Config) -> io::Result<()> {
    let directives = format!("{}{QUIET}", config.log_level);
    let filter = EnvFilter::try_new(directives)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let text = || tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match config.log_format {
        LogFormat::Json => text().json().flatten_event(true).boxed(),
        LogFormat::Auto if is_journal() => tracing_journald::layer()?.boxed(),
        LogFormat::Auto | LogFormat::Text => text().with_ansi(false).boxed(),
    };
    let subscriber = Registry::default().with(lines.with_filter(filter));
    subscriber.try_init().map_err(io::Error::other)
}

/// True when systemd connected standard error to the journal: `JOURNAL_STREAM` is then its device and inode, and
/// would differ if somebody has redirected it since.
fn is_journal() -> bool {
    let Ok(stream) = env::var("JOURNAL_STREAM") else {
        return false;
    };
    let found = rustix::fs::fstat(io::stderr());
    found.is_ok_and(|found| stream == format!("{}:{}", found.st_dev, found.st_ino))
}
