//! The mount server's sign of life: whoever connects to its socket is told what is in flight.
//!
//! A thread of its own answers, which touches neither the store nor the device, so that it answers as long as the
//! process runs, whatever its disk does. No answer means that the process is stopped or cannot run.

use std::{
    io::{self, Write},
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tracing::warn;

/// Largest pulse, as JSON.
pub const MAX_PULSE_BYTES: usize = 1 << 20;
/// Requests listed; the oldest.
pub(super) const MAX_LISTED: usize = 64;
/// How long a caller may take to read.
const PATIENCE: Duration = Duration::from_secs(1);

/// How a mount server is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulse {
    /// Its process id.
    pub pid: u32,
    /// Requests that are being answered or wait for a thread.
    pub in_flight: u64,
    /// Requests refused because their deadline was over, since it started.
    pub refused: u64,
    /// Threads that have not come back from a request that was refused.
    pub lost_threads: u64,
    /// Bytes of chunks it has read ahead of need, because an earlier mount needed them.
    #[serde(default)]
    pub foreseen_bytes: u64,
    /// Of these, needed since.
    #[serde(default)]
    pub met_bytes: u64,
    /// Bytes of chunks it has read when they were needed.
    #[serde(default)]
    pub late_bytes: u64,
    /// The oldest requests in flight, oldest first.
    pub requests: Vec<InFlight>,
}

/// A request that is being answered, or waits for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    /// `attributes`, `list`, `look-up`, `read`, `read-link`, `seek`, `xattr` or `xattr-names`.
    pub kind: String,
    /// Inode number of what is asked for; of the folder, for a look-up.
    pub node: u64,
    /// Its path in the snapshot; absent for a request that is young, or when the store does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Where it reads, in bytes; 0 for what has no offset.
    pub offset: u64,
    /// How much it reads, in bytes; 0 for what has no size.
    pub size: u32,
    /// How long it has been in flight, in milliseconds.
    pub age_ms: u64,
    /// True when it was refused and only its thread is still at it.
    pub refused: bool,
}

/// A socket that is bound and not in its place yet, so that an earlier server can be asked until this one serves.
#[derive(Debug)]
pub(super) struct Bound {
    listener: UnixListener,
    draft: PathBuf,
    path: PathBuf,
}

impl Bound {
    /// Binds beside `path`.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        let mut draft = path.as_os_str().to_owned();
        draft.push(".draft");
        let draft = PathBuf::from(draft);
        match std::fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&draft)?;
        std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self {
            listener,
            draft,
            path: path.to_owned(),
        })
    }

    /// Takes its place and answers with `pulse` from then on.
    pub(super) fn answer(self, pulse: impl Fn() -> Pulse + Send + 'static) -> io::Result<()> {
        std::fs::rename(&self.draft, &self.path)?;
        thread::Builder::new()
            .name("pulse".to_owned())
            .spawn(move || {
                for caller in self.listener.incoming() {
                    let told = caller.and_then(|mut caller| {
                        caller.set_write_timeout(Some(PATIENCE))?;
                        caller.write_all(&serde_json::to_vec(&pulse())?)
                    });
                    if let Err(error) = told {
                        warn!(%error, "Cannot tell how the server is");
                        // Out of descriptors, perhaps: not again and again at once.
                        thread::sleep(PATIENCE / 10);
                    }
                }
            })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, os::unix::net::UnixStream};

    use super::*;

    fn ask(path: &Path) -> Pulse {
        let mut text = String::new();
        let mut socket = UnixStream::connect(path).unwrap();
        socket.read_to_string(&mut text).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn of(pid: u32) -> impl Fn() -> Pulse {
        move || Pulse {
            pid,
            ..Pulse::default()
        }
    }

    #[test]
    fn a_new_server_is_asked_once_it_has_taken_the_place_of_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pulse");
        Bound::new(&path).unwrap().answer(of(1)).unwrap();
        let next = Bound::new(&path).unwrap();
        assert_eq!(ask(&path).pid, 1);
        next.answer(of(2)).unwrap();
        assert_eq!(ask(&path).pid, 2);
    }

    #[test]
    fn a_caller_who_leaves_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pulse");
        Bound::new(&path).unwrap().answer(of(1)).unwrap();
        drop(UnixStream::connect(&path).unwrap());
        assert_eq!(ask(&path).pid, 1);
    }
}
