//! Configuration: defaults, then the file, then the environment, then flags. Unknown keys are errors.
//!
//! Every key is one line of [`Config::KEYS`]: its flag `--key-name`, its variable `SNAPSHOTD_KEY_NAME`, its
//! line in the file and in docs/configuration.md all come from there.

mod keys;
mod layers;
mod values;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

pub use keys::Key;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use layers::fuzz;
pub use layers::{CONFIG_PATH, ConfigError, command};

/// Where log lines go and what they look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// The journal when systemd connected standard error to it, else text.
    Auto,
    /// Text on standard error.
    Text,
    /// JSON on standard error, one object a line.
    Json,
}

/// What becomes of memory in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncryptMemory {
    /// It is encrypted where the namespace has a key, and lies in clear elsewhere.
    WithKey,
    /// It is encrypted, or not captured.
    Always,
}

/// What the daemon was told. Every key is described in docs/configuration.md.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The store, the catalogue and the writable layers of restored containers.
    pub root: PathBuf,
    /// Sockets, mount points and records that need not outlive a reboot.
    pub state: PathBuf,
    /// Where clients connect.
    pub socket: PathBuf,
    /// containerd's socket.
    pub containerd: PathBuf,
    /// The mount server's binary; found beside the daemon's own when not set.
    pub mount_server: PathBuf,
    /// The group that may use the socket beside root.
    pub group: Option<String>,
    /// Time to live of a snapshot whose creator said nothing; `None` for never.
    pub default_ttl: Option<Duration>,
    /// Most snapshots in one namespace.
    pub snapshots_per_namespace: u64,
    /// Bytes that nothing but the snapshots of one namespace may need; 0 for no limit.
    pub unique_bytes_per_namespace: u64,
    /// The folder of files that say which containers are captured when they end.
    pub auto_policies: PathBuf,
    /// How often expired snapshots are looked for.
    pub expiry_interval: Duration,
    /// How long what is removed stays in the trash; zero for no trash.
    pub trash_grace: Duration,
    /// How often the catalogue is copied; `None` for never.
    pub backup_interval: Option<Duration>,
    /// Copies of the catalogue that are kept.
    pub backup_keep: usize,
    /// How often the store is collected; `None` for only on request and when the disk is nearly full.
    pub collect_interval: Option<Duration>,
    /// How long data stays after nothing was found to need it.
    pub collect_grace: Duration,
    /// From this used part of the store's file system on, in hundredths, space is made; 100 for never.
    pub disk_high_percent: u8,
    /// Below this used part all is as usual again.
    pub disk_low_percent: u8,
    /// Decoded-chunk cache of one mount server, in bytes.
    pub mount_cache_bytes: u64,
    /// Threads of one mount server.
    pub mount_threads: usize,
    /// What a mount reads ahead at most because an earlier one needed it, in bytes; 0 for no traces.
    pub prefetch_bytes: u64,
    /// What reading ahead because of a trace asks the disk for at most, in bytes a second.
    pub prefetch_rate: u64,
    /// After this long a mount server refuses a request that the store does not answer.
    pub read_deadline: Duration,
    /// Free space a capture leaves on the store's file system, in bytes.
    pub reserve_bytes: u64,
    /// Stored bytes that are read again each day; 0 for none.
    pub scrub_bytes_per_day: u64,
    /// Bytes that the snapshots of one namespace may have stored; 0 for no limit.
    pub stored_bytes_per_namespace: u64,
    /// Captures under way at once; others wait.
    pub concurrent_captures: usize,
    /// Restores under way at once; others wait.
    pub concurrent_restores: usize,
    /// Connections one user may hold at once.
    pub connections_per_user: usize,
    /// Folder of the keys that memory is encrypted with, a file a namespace.
    pub memory_keys: PathBuf,
    /// Whether memory is captured where there is no key for it.
    pub encrypt_memory: EncryptMemory,
    /// Where log lines go and what they look like.
    pub log_format: LogFormat,
    /// What is logged, as tracing's filter has it.
    pub log_level: String,
}

impl Config {
    /// Every key, in the order of the documentation.
    pub const KEYS: &[Key] = &keys::KEYS;
    /// Longest time to live, in seconds: a hundred years.
    pub const MAX_TTL_SECONDS: u64 = 100 * 365 * 24 * 60 * 60;

    /// The catalogue's file.
    #[must_use]
    pub fn catalogue(&self) -> PathBuf {
        self.root.join("catalogue.db")
    }

    /// The folder of the regular copies of the catalogue.
    #[must_use]
    pub fn backups(&self) -> PathBuf {
        self.root.join("backups")
    }

    /// The whole configuration as a file that could be read again.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let line = |key: &Key| {
            let value = toml::Value::String(key.get(self));
            format!("{} = {value}\n", key.name)
        };
        Self::KEYS.iter().map(line).collect()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            root: "/var/lib/snapshotd".into(),
            state: "/run/snapshotd".into(),
            socket: snap_api::DEFAULT_SOCKET.into(),
            containerd: "/run/containerd/containerd.sock".into(),
            mount_server: beside_this_binary("snapshotd-mount"),
            group: None,
            default_ttl: Some(Duration::from_secs(14 * 24 * 60 * 60)),
            snapshots_per_namespace: 100,
            auto_policies: "/etc/snapshotd/auto.d".into(),
            expiry_interval: Duration::from_secs(60 * 60),
            trash_grace: Duration::from_secs(24 * 60 * 60),
            backup_interval: Some(Duration::from_secs(24 * 60 * 60)),
            backup_keep: 7,
            collect_interval: Some(Duration::from_secs(24 * 60 * 60)),
            collect_grace: Duration::from_secs(60 * 60),
            disk_high_percent: 95,
            disk_low_percent: 85,
            mount_cache_bytes: 64 << 20,
            prefetch_bytes: 64 << 20,
            prefetch_rate: 256 << 20,
            mount_threads: 4,
            read_deadline: Duration::from_secs(30),
            reserve_bytes: 256 << 20,
            scrub_bytes_per_day: 64 << 30,
            stored_bytes_per_namespace: 0,
            unique_bytes_per_namespace: 0,
            concurrent_captures: 2,
            concurrent_restores: 16,
            connections_per_user: 256,
            memory_keys: "/etc/snapshotd/keys".into(),
            encrypt_memory: EncryptMemory::WithKey,
            log_format: LogFormat::Auto,
            log_level: "info".to_owned(),
        }
    }
}

fn beside_this_binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().ok();
    let folder = own.as_deref().and_then(Path::parent);
    folder.unwrap_or(Path::new("/usr/bin")).join(name)
}

#[cfg(test)]
mod tests;
