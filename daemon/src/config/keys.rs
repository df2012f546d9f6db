//! The table of keys.

use std::path::Path;

use super::{Config, EncryptMemory, LogFormat, values};

/// One key of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name in the file; `--name-with-dashes` is its flag, `SNAPSHOTD_NAME` its variable.
    pub name: &'static str,
    /// What it decides, in one line.
    pub about: &'static str,
    get: fn(&Config) -> String,
    set: fn(&mut Config, &str) -> Result<(), String>,
}

impl Key {
    /// Its value as text that [`Key::set`] takes.
    #[must_use]
    pub fn get(&self, config: &Config) -> String {
        (self.get)(config)
    }

    /// Sets it, or says what is wrong with the value.
    pub fn set(&self, config: &mut Config, text: &str) -> Result<(), String> {
        (self.set)(config, text)
    }

    /// Its flag without the leading dashes.
    #[must_use]
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// Its environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("SNAPSHOTD_{}", self.name.to_uppercase())
    }
}

pub(super) const KEYS: [Key; 33] = [
    Key {
        name: "root",
        about: "Folder of the store, the catalogue and the writable layers of restored containers",
        get: |config| text(&config.root),
        set: |config, value| values::path(value).map(|path| config.root = path),
    },
    Key {
        name: "state",
        about: "Folder of mount points and records that need not outlive a reboot",
        get: |config| text(&config.state),
        set: |config, value| values::path(value).map(|path| config.state = path),
    },
    Key {
        name: "socket",
        about: "Where clients connect; systemd's socket unit takes precedence",
        get: |config| text(&config.socket),
        set: |config, value| values::socket(value).map(|path| config.socket = path),
    },
    Key {
        name: "containerd",
        about: "containerd's socket",
        get: |config| text(&config.containerd),
        set: |config, value| values::socket(value).map(|path| config.containerd = path),
    },
    Key {
        name: "mount_server",
        about: "The mount server's binary; beside snapshotd unless set",
        get: |config| text(&config.mount_server),
        set: |config, value| values::path(value).map(|path| config.mount_server = path),
    },
    Key {
        name: "group",
        about: "Group that may use the socket beside root; empty for root alone",
        get: |config| config.group.clone().unwrap_or_default(),
        set: |config, value| {
            config.group = Some(value.to_owned()).filter(|group| !group.is_empty());
            Ok(())
        },
    },
    Key {
        name: "default_ttl",
        about: "Time to live of a snapshot whose creator names none; `never` keeps it until it is removed",
        get: |config| values::limit_text(config.default_ttl),
        set: |config, value| {
            values::limit(value, 1..=Config::MAX_TTL_SECONDS).map(|ttl| config.default_ttl = ttl)
        },
    },
    Key {
        name: "snapshots_per_namespace",
        about: "Most snapshots in one namespace",
        get: |config| config.snapshots_per_namespace.to_string(),
        set: |config, value| {
            values::number(value, 1..=1_000_000)
                .map(|number| config.snapshots_per_namespace = number)
        },
    },
    Key {
        name: "stored_bytes_per_namespace",
        about: "Most bytes that the snapshots of one namespace may have added to the store; 0 for no limit",
        get: |config| values::size_text(config.stored_bytes_per_namespace),
        set: |config, value| {
            values::size(value, 0..=1 << 60).map(|size| config.stored_bytes_per_namespace = size)
        },
    },
    Key {
        name: "unique_bytes_per_namespace",
        about: "Most bytes of the store that the snapshots of one namespace alone may need; 0 for no limit",
        get: |config| values::size_text(config.unique_bytes_per_namespace),
        set: |config, value| {
            values::size(value, 0..=1 << 60).map(|size| config.unique_bytes_per_namespace = size)
        },
    },
    Key {
        name: "auto_policies",
        about: "Folder of files that say which containers are captured when they end",
        get: |config| text(&config.auto_policies),
        set: |config, value| values::path(value).map(|path| config.auto_policies = path),
    },
    Key {
        name: "expiry_interval",
        about: "How often expired snapshots are looked for",
        get: |config| values::duration_text(config.expiry_interval),
        set: |config, value| {
            values::duration(value, 1..=30 * 24 * 60 * 60)
                .map(|duration| config.expiry_interval = duration)
        },
    },
    Key {
        name: "trash_grace",
        about: "How long removed, forgotten and expired snapshots stay in the trash; 0 turns it off",
        get: |config| values::duration_text(config.trash_grace),
        set: |config, value| values::grace(value).map(|grace| config.trash_grace = grace),
    },
    Key {
        name: "backup_interval",
        about: "How often the catalogue is copied to `backups` in the root folder; `never` turns it off",
        get: |config| values::limit_text(config.backup_interval),
        set: |config, value| {
            values::interval(value).map(|interval| config.backup_interval = interval)
        },
    },
    Key {
        name: "backup_keep",
        about: "Copies of the catalogue that are kept there; the oldest go",
        get: |config| config.backup_keep.to_string(),
        set: |config, value| values::count(value, 1..=1000).map(|count| config.backup_keep = count),
    },
    Key {
        name: "collect_interval",
        about: "How often space is given back that no snapshot needs; `never` leaves it to `snapctl collect` and a full disk",
        get: |config| values::limit_text(config.collect_interval),
        set: |config, value| {
            values::interval(value).map(|interval| config.collect_interval = interval)
        },
    },
    Key {
        name: "collect_grace",
        about: "How long data stays on the disk after nothing was found to need it",
        get: |config| values::duration_text(config.collect_grace),
        set: |config, value| {
            values::duration(value, 0..=365 * 24 * 60 * 60)
                .map(|duration| config.collect_grace = duration)
        },
    },
    Key {
        name: "disk_high_percent",
        about: "From this used part of the file system of the store on, space is made, and captures are refused when there is none to make; 100 for never",
        get: |config| config.disk_high_percent.to_string(),
        set: |config, value| {
            values::percent(value).map(|percent| config.disk_high_percent = percent)
        },
    },
    Key {
        name: "disk_low_percent",
        about: "Below this used part all is as usual again",
        get: |config| config.disk_low_percent.to_string(),
        set: |config, value| {
            values::percent(value).map(|percent| config.disk_low_percent = percent)
        },
    },
    Key {
        name: "mount_cache_bytes",
        about: "Cache of decoded chunks in each mount server",
        get: |config| values::size_text(config.mount_cache_bytes),
        set: |config, value| {
            values::size(value, 1 << 20..=1 << 40).map(|size| config.mount_cache_bytes = size)
        },
    },
    Key {
        name: "mount_threads",
        about: "Requests each mount server answers at once; more while some of them hang",
        get: |config| config.mount_threads.to_string(),
        set: |config, value| values::count(value, 1..=64).map(|count| config.mount_threads = count),
    },
    Key {
        name: "prefetch_bytes",
        about: "Most bytes a mount reads ahead because an earlier one needed them; 0 for neither reading ahead nor noting it",
        get: |config| values::size_text(config.prefetch_bytes),
        set: |config, value| {
            values::size(value, 0..=1 << 30).map(|size| config.prefetch_bytes = size)
        },
    },
    Key {
        name: "prefetch_rate",
        about: "Most bytes a second that this asks the disk for",
        get: |config| values::size_text(config.prefetch_rate),
        set: |config, value| {
            values::size(value, 1 << 20..=1 << 40).map(|size| config.prefetch_rate = size)
        },
    },
    Key {
        name: "read_deadline",
        about: "After this long a read that the store does not answer is an input/output error",
        get: |config| values::duration_text(config.read_deadline),
        set: |config, value| {
            values::duration(value, 1..=24 * 60 * 60)
                .map(|duration| config.read_deadline = duration)
        },
    },
    Key {
        name: "reserve_bytes",
        about: "Free space a capture leaves on the file system of the store",
        get: |config| values::size_text(config.reserve_bytes),
        set: |config, value| {
            values::size(value, 0..=1 << 50).map(|size| config.reserve_bytes = size)
        },
    },
    Key {
        name: "scrub_bytes_per_day",
        about: "How much of what is stored is read again each day to find damage; 0 turns it off",
        get: |config| values::size_text(config.scrub_bytes_per_day),
        set: |config, value| {
            values::size(value, 0..=1 << 50).map(|size| config.scrub_bytes_per_day = size)
        },
    },
    Key {
        name: "concurrent_captures",
        about: "Captures under way at once; others wait for their turn",
        get: |config| config.concurrent_captures.to_string(),
        set: |config, value| {
            values::count(value, 1..=64).map(|count| config.concurrent_captures = count)
        },
    },
    Key {
        name: "concurrent_restores",
        about: "Restores under way at once; others wait for their turn",
        get: |config| config.concurrent_restores.to_string(),
        set: |config, value| {
            values::count(value, 1..=256).map(|count| config.concurrent_restores = count)
        },
    },
    Key {
        name: "connections_per_user",
        about: "Connections one user may hold at once",
        get: |config| config.connections_per_user.to_string(),
        set: |config, value| {
            values::count(value, 1..=384).map(|count| config.connections_per_user = count)
        },
    },
    Key {
        name: "memory_keys",
        about: "Folder of the keys that memory is encrypted with, `NAMESPACE.key` each; it need not exist",
        get: |config| text(&config.memory_keys),
        set: |config, value| values::path(value).map(|path| config.memory_keys = path),
    },
    Key {
        name: "encrypt_memory",
        about: "`with-key` encrypts memory where its namespace has a key; `always` captures none elsewhere, and restores none that is not encrypted",
        get: |config| config.encrypt_memory.as_str().to_owned(),
        set: |config, value| {
            EncryptMemory::parse(value)
                .map(|wish| config.encrypt_memory = wish)
                .ok_or_else(|| "it is neither `with-key` nor `always`".to_owned())
        },
    },
    Key {
        name: "log_format",
        about: "`text` or `json` on standard error; `auto` is the journal under systemd and text elsewhere",
        get: |config| config.log_format.as_str().to_owned(),
        set: |config, value| {
            LogFormat::parse(value)
                .map(|format| config.log_format = format)
                .ok_or_else(|| "it is none of `auto`, `text` and `json`".to_owned())
        },
    },
    Key {
        name: "log_level",
        about: "What is logged: `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,snap_daemon=debug`",
        get: |config| config.log_level.clone(),
        set: |config, value| {
            tracing_subscriber::EnvFilter::try_new(value)
                .map(|_| config.log_level = value.to_owned())
                .map_err(|error| error.to_string())
        },
    },
];

impl EncryptMemory {
    const ALL: [Self; 2] = [Self::WithKey, Self::Always];

    fn as_str(self) -> &'static str {
        match self {
            Self::WithKey => "with-key",
            Self::Always => "always",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|wish| wish.as_str() == word)
    }
}

impl LogFormat {
    const ALL: [Self; 3] = [Self::Auto, Self::Text, Self::Json];

    fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Text => "text",
            Self::Json => "json",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == word)
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
