//! Where mounts and what belongs to them lie, and how a mount server is started.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use snap_store::{Error, Result, SnapshotId};

use super::{keeper::DeathNotice, slots::Slots};
use crate::config::Config;

/// One mount of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) snapshot: SnapshotId,
    /// For one that was unmounted here and lingers: a number that no other lingering mount of the snapshot has.
    lingering: Option<u32>,
}

impl Place {
    /// Where the snapshot is mounted for whoever uses it.
    pub(super) fn of(snapshot: SnapshotId) -> Self {
        Self {
            snapshot,
            lingering: None,
        }
    }

    /// Where a mount of the snapshot goes that lingers; the process id of its server tells it from others.
    pub(super) fn lingering(snapshot: SnapshotId, server: u32) -> Self {
        Self {
            snapshot,
            lingering: Some(server),
        }
    }

    pub(super) fn lingers(self) -> bool {
        self.lingering.is_some()
    }
}

/// The name of its files, and of its device at the holder.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lingering {
            None => write!(f, "{}", self.snapshot),
            Some(number) => write!(f, "{}-{number}", self.snapshot),
        }
    }
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let Some((snapshot, number)) = name.split_once('-') else {
            return Ok(Self::of(name.parse()?));
        };
        let number = number.parse().map_err(|_| Error::Invalid {
            what: "name of a mount",
            why: format!("`{name}` has no number"),
        })?;
        Ok(Self::lingering(snapshot.parse()?, number))
    }
}

/// Paths and figures out of the configuration.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) root: PathBuf,
    pub(super) state: PathBuf,
    pub(super) mount_server: PathBuf,
    pub(super) cache_bytes: u64,
    pub(super) threads: usize,
    pub(super) read_deadline: Duration,
    /// What a mount reads ahead; 0 for no traces.
    pub(super) prefetch_bytes: u64,
    pub(super) prefetch_rate: u64,
    /// Held while a holder is started, so that there is one.
    pub(super) starting_holder: tokio::sync::Mutex<()>,
    /// Where the end of a server is reported that nobody told to end.
    pub(super) deaths: DeathNotice,
    /// What is served at each place.
    pub(super) slots: Slots,
}

impl Places {
    pub(super) fn new(config: &Config, deaths: DeathNotice) -> Self {
        Self {
            root: config.root.clone(),
            state: config.state.clone(),
            mount_server: config.mount_server.clone(),
            cache_bytes: config.mount_cache_bytes,
            threads: config.mount_threads,
            read_deadline: config.read_deadline,
            prefetch_bytes: config.prefetch_bytes,
            prefetch_rate: config.prefetch_rate,
            starting_holder: tokio::sync::Mutex::default(),
            deaths,
            slots: Slots::default(),
        }
    }

    /// Where it is mounted; of one that lingers, a name that stands for it.
    pub(super) fn point(&self, place: Place) -> PathBuf {
        self.folder(place.lingers()).join(place.to_string())
    }

    /// What is known of its server.
    pub(super) fn record(&self, place: Place) -> PathBuf {
        self.beside(place, "json")
    }

    /// What its server had to say.
    pub(super) fn log(&self, place: Place) -> PathBuf {
        self.beside(place, "log")
    }

    /// Where its server is asked how it is.
    pub(super) fn pulse(&self, place: Place) -> PathBuf {
        self.beside(place, "pulse")
    }

    fn beside(&self, place: Place, extension: &str) -> PathBuf {
        let name = format!("{place}.{extension}");
        self.folder(place.lingers()).join(name)
    }

    /// Where the holder is asked.
    pub(super) fn holder_socket(&self) -> PathBuf {
        self.state.join("holder.sock")
    }

    /// What the holder had to say.
    pub(super) fn holder_log(&self) -> PathBuf {
        self.state.join("holder.log")
    }

    /// Every mount of which something is left here, sorted.
    pub(super) fn all(&self) -> Result<Vec<Place>> {
        let mut found = Vec::new();
        for lingers in [false, true] {
            let folder = self.folder(lingers);
            let entries = match fs::read_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries.map_err(Error::io("list", &folder))?,
            };
            for entry in entries {
                let name = entry.map_err(Error::io("list", &folder))?.file_name();
                let stem = Path::new(&name).file_stem().and_then(|stem| stem.to_str());
                let place = stem.and_then(|stem| stem.parse::<Place>().ok());
                found.extend(place.filter(|place| place.lingers() == lingers));
            }
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// The lingering mount that this path stands for.
    pub(super) fn lingering_at(&self, path: &Path) -> Option<Place> {
        let name = path.strip_prefix(self.folder(true)).ok()?;
        name.to_str()?.parse().ok()
    }

    /// The folder of mounts, or that of mounts that linger.
    pub(super) fn folder(&self, lingers: bool) -> PathBuf {
        let name = if lingers { "lingering" } else { "mounts" };
        self.state.join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_known_by_its_name() {
        let snapshot = SnapshotId::random();
        for place in [Place::of(snapshot), Place::lingering(snapshot, 4711)] {
            assert_eq!(place.to_string().parse::<Place>().unwrap(), place);
        }
        for name in [
            "",
            "-1",
            "x-1",
            &format!("{snapshot}-"),
            &format!("{snapshot}-x"),
        ] {
            assert!(name.parse::<Place>().is_err(), "{name}");
        }
    }
}
