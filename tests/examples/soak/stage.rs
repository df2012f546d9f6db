//! What everybody in the soak shares: the host, the daemon's life, the clock, the tally, and the first failure.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Command,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use snap_tests::{Daemon, Host, HostOptions, fixture_folder};

/// Small caches, so that they are full long before memory is compared; nothing but what the soak asks for is collected.
const CONFIG: &str = "expiry_interval = '2s'\ncollect_interval = 'never'\nbackup_interval = '1m'\nbackup_keep = 3\n\
                      mount_cache_bytes = '8MiB'\nscrub_bytes_per_day = '64GiB'\nsnapshots_per_namespace = 1000\n";
/// See the module.
#[derive(Debug)]
pub(crate) struct Stage {
    host: Host,
    daemon: Mutex<Option<Daemon>>,
    daemon_pid: AtomicU32,
    /// Odd while the daemon is down.
    life: AtomicU64,
    begun: Instant,
    length: Duration,
    is_ended: AtomicBool,
    failure: OnceLock<anyhow::Error>,
    tally: Mutex<BTreeMap<String, u64>>,
    importing: Mutex<()>,
}

impl Stage {
    pub(crate) fn begin(length: Duration) -> Result<Self> {
        let mut host = Host::start_with(&HostOptions {
            config: CONFIG.to_owned(),
            ..HostOptions::default()
        })?;
        let daemon = host.take_daemon()?;
        Ok(Self {
            host,
            daemon_pid: AtomicU32::new(daemon.pid()),
            daemon: Mutex::new(Some(daemon)),
            life: AtomicU64::new(0),
            begun: Instant::now(),
            length,
            is_ended: AtomicBool::new(false),
            failure: OnceLock::new(),
            tally: Mutex::default(),
            importing: Mutex::default(),
        })
    }

    pub(crate) const fn host(&self) -> &Host {
        &self.host
    }

    pub(crate) fn daemon_pid(&self) -> u32 {
        self.daemon_pid.load(Ordering::SeqCst)
    }

    /// The host, once nobody needs the rest; its daemon is stopped.
    pub(crate) fn into_host(self) -> Result<Host> {
        let daemon = self.daemon.into_inner().expect("nobody panics here");
        daemon.context("The daemon runs")?.stop()?;
        Ok(self.host)
    }

    pub(crate) const fn length(&self) -> Duration {
        self.length
    }

    /// Which part of the run is over.
    pub(crate) fn progress(&self) -> f64 {
        self.begun.elapsed().as_secs_f64() / self.length.as_secs_f64()
    }

    /// True while the daemon may be killed and mount servers replaced.
    pub(crate) fn is_storm(&self) -> bool {
        self.progress() < 0.25
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_ended.load(Ordering::SeqCst) || self.begun.elapsed() >= self.length
    }

    pub(crate) fn end(&self) {
        self.is_ended.store(true, Ordering::SeqCst);
    }

    /// Keeps the first failure and ends the run.
    pub(crate) fn note(&self, result: Result<()>) {
        if let Err(error) = result {
            // A later one is most often a consequence.
            let _ = self.failure.set(error);
            self.end();
        }
    }

    /// The first failure, if there was one.
    pub(crate) fn failure(&self) -> Result<()> {
        match self.failure.get() {
            Some(error) => bail!("{error:#}"),
            None => Ok(()),
        }
    }

    /// Plays rounds until the run is over; `round` says how long to wait before the next.
    pub(crate) fn rounds<T>(
        &self,
        player: &Mutex<T>,
        round: impl Fn(&mut T, &Self) -> Result<Duration>,
    ) {
        while !self.is_over() {
            let played = round(&mut player.lock().expect("a round does not panic"), self);
            match played {
                Ok(wait) => self.sleep(wait),
                Err(error) => self.note(Err(error)),
            }
        }
    }

    fn sleep(&self, wait: Duration) {
        let until = Instant::now() + wait;
        while !self.is_over() && Instant::now() < until {
            thread::sleep(Duration::from_millis(50).min(wait));
        }
    }

    /// The host has one place for an image that is being packed.
    pub(crate) fn importing(&self) -> MutexGuard<'_, ()> {
        self.importing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self, what: &str) {
        self.add(what, 1);
    }

    pub(crate) fn add(&self, what: &str, number: u64) {
        let mut tally = self.tally.lock().expect("nobody panics here");
        *tally.entry(what.to_owned()).or_default() += number;
    }

    pub(crate) fn tally(&self) -> BTreeMap<String, u64> {
        self.tally.lock().expect("nobody panics here").clone()
    }
}

/// The daemon's life.
impl Stage {
    /// Kills the daemon and starts it again.
    pub(crate) fn kill_daemon(&self) -> Result<()> {
        let mut daemon = self.daemon.lock().expect("nobody panics here");
        self.life.fetch_add(1, Ordering::SeqCst);
        let old = daemon.take().context("The daemon runs")?;
        let new = old.kill_and_start_again()?;
        self.daemon_pid.store(new.pid(), Ordering::SeqCst);
        *daemon = Some(new);
        self.life.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// The number of the daemon's life, odd while it is down.
    pub(crate) fn life(&self) -> u64 {
        self.life.load(Ordering::SeqCst)
    }

    /// The same, once it is up.
    pub(crate) fn when_up(&self) -> Result<u64> {
        loop {
            let life = self.life();
            if life.is_multiple_of(2) {
                return Ok(life);
            }
            // A daemon that does not come back has made the killer fail.
            self.failure()?;
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Copies the logs to where they outlive the host, and says where.
    pub(crate) fn keep_logs(&self) -> String {
        let kept = fixture_folder("soak-failed").and_then(|folder| {
            let copied = Command::new("cp")
                .args(["-r", "--"])
                .args([
                    &self.host.folder().join("snapshotd.log"),
                    &self.host.folder().join("containerd/log"),
                    &self.host.state().join("mounts"),
                    &folder,
                ])
                .output()
                .context("Copy the logs")?;
            let _ = copied;
            Ok(folder)
        });
        match kept {
            Ok(folder) => folder.display().to_string(),
            Err(error) => format!("no place: {error:#}"),
        }
    }
}

/// True when nothing is at the path; an error is not nothing.
pub(crate) fn is_absent(path: &Path) -> bool {
    matches!(fs::symlink_metadata(path), Err(error) if error.kind() == std::io::ErrorKind::NotFound)
}
