//! The daemon from start to stop.
//!
//! ```text
//! folders ─► store, catalogue ─► socket ─► settle ─► background work ─► accept, ready
//! told to reload ─► policies, new mount servers
//! told to stop ─► accept nothing ─► cancel and undo jobs ─► finish changes ─► hang up
//! ```
//!
//! Mounts and restored containers are not ours to end: they go on without the daemon.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    Error, Host, auto, backup, ballast, collect,
    config::Config,
    containers, expiry, files, mounts, repair, scrub,
    server::{self, Listening, Server, SocketError},
    settle, triggers,
};

/// How long cancelled jobs may take to undo what they have done; the next start settles the rest.
const UNDO_TIME: Duration = Duration::from_secs(20);
/// How long changes under way may take to end.
const FINISH_TIME: Duration = Duration::from_secs(15);
/// How long clients get to read their last answers.
const FAREWELL_TIME: Duration = Duration::from_millis(500);
/// What containerd removed while its events were not followed is noticed by the hour.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// The store holds the content of every container: nobody but root looks into it.
const ROOT_MODE: u32 = 0o700;
/// The socket lies in here, unless it was configured elsewhere: others pass through and see nothing.
const STATE_MODE: u32 = 0o711;

/// Why the daemon could not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The folders, the store or the catalogue cannot be used; the source says why.
    #[error("Cannot open the store in {root}", root = root.display())]
    Store {
        /// The store's folder.
        root: PathBuf,
        /// What was met.
        source: Box<Error>,
    },
    /// There is nothing to listen on; the source says why.
    #[error("Cannot listen on the socket")]
    Socket(#[from] SocketError),
    /// What an earlier daemon left cannot be settled; the source says why.
    #[error("Cannot settle what an earlier run left")]
    Settle(#[source] Box<Error>),
    /// The system refused something the daemon cannot do without.
    #[error("Cannot {op}")]
    System {
        /// What was tried.
        op: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl RunError {
    /// The exit code that `snapshotd --help` documents.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Settle(_) | Self::System { .. } => 1,
            Self::Store { .. } => 3,
            Self::Socket(_) => 4,
        }
    }
}

/// Runs the daemon until it is told to stop.
pub async fn run(config: Config) -> Result<(), RunError> {
    // First of all: a signal that comes while the daemon starts must not end it half way.
    let mut signals = Signals::new().map_err(system("handle signals"))?;
    raise_file_limit();
    let host = open(config)?;
    let Listening { listener, own } = server::listen(&host.config)?;
    settle::settle(&host)
        .await
        .map_err(|error| RunError::Settle(Box::new(error)))?;
    ballast::hold(&host.config);
    let mut background = background(&host);

    let server = Server::new(Arc::clone(&host));
    let stop = CancellationToken::new();
    let (accepting, until) = (server.clone(), stop.clone());
    let accepting = tokio::spawn(async move { accepting.accept(listener, until).await });
    tell(&[NotifyState::Ready]);
    info!(
        version = env!("CARGO_PKG_VERSION"),
        pid = std::process::id(),
        "Ready"
    );

    let why = loop {
        match signals.next().await {
            Asked::Stop(why) => break why,
            Asked::Reload => drop(background.spawn(reload(Arc::clone(&host)))),
        }
    };
    info!(signal = why, "Stopping");
    tell(&[NotifyState::Stopping]);
    stop.cancel();
    let _ = accepting.await;
    drop(own);
    host.jobs.shut_down(UNDO_TIME).await;
    host.finish_changes(FINISH_TIME).await;
    background.shutdown().await;
    tokio::time::sleep(FAREWELL_TIME).await;
    server.hang_up(FAREWELL_TIME).await;
    info!("Stopped");
    Ok(())
}

/// Puts the copy `file` in the place of the catalogue, while no daemon runs on the store; says what was done.
pub fn restore_catalogue(config: &Config, file: &Path) -> Result<String, RunError> {
    let put = backup::put_back(config, file).map_err(|error| RunError::Store {
        root: config.root.clone(),
        source: Box::new(error),
    })?;
    let mut text = format!("Restored the catalogue: {} snapshots\n", put.snapshots);
    if let Some(replaced) = &put.replaced {
        text.push_str(&format!("The one before it is {}\n", replaced.display()));
    }
    text.push_str("Start snapshotd: it adds what was made since, and fails what was removed\n");
    Ok(text)
}

/// Makes a damaged catalogue anew from the manifests, while no daemon runs on the store; says what was done.
pub fn repair_catalogue(config: &Config) -> Result<String, RunError> {
    let made = repair::make_catalogue_anew(config).map_err(|error| RunError::Store {
        root: config.root.clone(),
        source: Box::new(error),
    })?;
    Ok(match made {
        None => "The catalogue is sound: nothing was changed\n".to_owned(),
        Some(made) => format!(
            "Made the catalogue anew from the manifests: {} snapshots\n\
             The damaged one is {}\n\
             Names, labels and times to live are those of the moment each snapshot was made; nothing expires within 7 days\n",
            made.snapshots,
            made.kept.display()
        ),
    })
}

fn open(config: Config) -> Result<Arc<Host>, RunError> {
    let root = config.root.clone();
    let opened = files::ensure_folder(&config.root, ROOT_MODE)
        .and_then(|()| files::ensure_folder(&config.state, STATE_MODE))
        .map_err(Error::from)
        .and_then(|()| Host::open(config));
    opened.map_err(|error| RunError::Store {
        root,
        source: Box::new(error),
    })
}

/// Connections, packs, and a device for each mount need more descriptors than the 1024 a process gets by itself.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, "Cannot raise the limit of open files");
    }
}

fn background(host: &Arc<Host>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(expiry::run(Arc::clone(host)));
    tasks.spawn(auto::run(Arc::clone(host)));
    tasks.spawn(triggers::run(Arc::clone(host)));
    tasks.spawn(backup::run(Arc::clone(host)));
    tasks.spawn(collect::run(Arc::clone(host)));
    tasks.spawn(scrub::run(Arc::clone(host)));
    tasks.spawn(containers::follow_events(Arc::clone(host)));
    tasks.spawn(mounts::keep(Arc::clone(host)));
    tasks.spawn(mounts::watch(Arc::clone(host)));
    tasks.spawn(sweep(Arc::clone(host)));
    if let Some(limit) = sd_notify::watchdog_enabled() {
        tasks.spawn(watchdog(limit / 2));
    }
    tasks
}

async fn sweep(host: Arc<Host>) {
    loop {
        tokio::time::sleep(SWEEP_INTERVAL).await;
        if let Err(error) = containers::sweep(&host).await {
            warn!(%error, "Cannot look for containers that are gone");
        }
    }
}

/// Reads the policies again and puts the installed binary under every mount.
async fn reload(host: Arc<Host>) {
    info!("Reloading");
    let now = NotifyState::monotonic_usec_now();
    now.iter()
        .for_each(|now| tell(&[NotifyState::Reloading, now.clone()]));
    host.triggers.read_again(&host).await;
    mounts::upgrade(&host).await;
    tell(&[NotifyState::Ready]);
}

/// Tells the service manager that the runtime still turns.
async fn watchdog(interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "Cannot notify the service manager");
    }
}

/// The signals that mean something to the daemon.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop("TERM"),
            _ = self.interrupt.recv() => Asked::Stop("INT"),
            _ = self.hang_up.recv() => Asked::Reload,
        }
    }
}

/// What a signal asks for.
enum Asked {
    /// The end; this signal said so.
    Stop(&'static str),
    Reload,
}

fn system(op: &'static str) -> impl FnOnce(io::Error) -> RunError {
    move |source| RunError::System { op, source }
}
