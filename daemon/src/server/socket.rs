//! The listening socket: systemd's when it gave one, else one of our own.

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            fs::{DirBuilderExt, FileTypeExt, PermissionsExt, chown},
            net::{UnixListener as StdListener, UnixStream as StdStream},
        },
    },
    path::{Path, PathBuf},
};

use rustix::{
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
    process::{PidfdFlags, PidfdGetfdFlags},
};
use tokio::net::UnixListener;
use tracing::info;

use crate::config::Config;

/// Clients that have connected and wait to be accepted.
const BACKLOG: i32 = 128;
/// Others must reach the socket, but not list what lies beside it.
const STATE_MODE: u32 = 0o711;
/// Whoever may write to a socket may connect to it.
const SOCKET_MODE: u32 = 0o660;

/// Why there is no socket to listen on.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody answers there; stop the other daemon or choose another socket.
    #[error("Another daemon listens at {path}", path = path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else has that name; move it away or choose another socket.
    #[error("{path} is there and is no socket", path = path.display())]
    NoSocket {
        /// What is there.
        path: PathBuf,
    },
    /// There is no such group; make it or correct `group`.
    #[error("There is no group `{group}`")]
    NoGroup {
        /// The configured group.
        group: String,
    },
    /// systemd's descriptor cannot be used; look at the socket unit.
    #[error("The socket that systemd passed cannot be used")]
    Activation {
        /// What the system said.
        source: io::Error,
    },
    /// The system refused; the source says why.
    #[error("Cannot {op} {path}", path = path.display())]
    Io {
        /// What was tried, as a verb.
        op: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A listening socket.
#[derive(Debug)]
pub struct Listening {
    /// What to accept from.
    pub listener: UnixListener,
    /// Ours to take away; `None` when it is the service manager's.
    pub own: Option<OwnSocket>,
}

/// A socket in the file system that we made; dropping it takes it away.
#[derive(Debug)]
pub struct OwnSocket(PathBuf);

impl Drop for OwnSocket {
    fn drop(&mut self) {
        // Whether it is there or not, nobody listens on it any more.
        let _ = fs::remove_file(&self.0);
    }
}

/// Listens on the socket of the service manager, or on the configured one.
pub fn listen(config: &Config) -> Result<Listening, SocketError> {
    if let Some(descriptor) = activated().map_err(|source| SocketError::Activation { source })? {
        info!("Listening on the socket of the service manager");
        let listener =
            into_tokio(descriptor).map_err(|source| SocketError::Activation { source })?;
        return Ok(Listening {
            listener,
            own: None,
        });
    }
    let path = &config.socket;
    if let Some(folder) = path.parent() {
        ensure_folder(folder)?;
    }
    clear_stale(path)?;
    let (descriptor, own) = bind(path, config.group.as_deref())?;
    let listener = into_tokio(descriptor).map_err(failed("listen on", path))?;
    info!(socket = %path.display(), "Listening");
    Ok(Listening {
        listener,
        own: Some(own),
    })
}

/// The first descriptor systemd passed. It is fetched through a pidfd of this very process: that gives an owned
/// descriptor of the same socket where the raw number would have to be trusted.
fn activated() -> io::Result<Option<OwnedFd>> {
    let Some(number) = sd_notify::listen_fds()?.next() else {
        return Ok(None);
    };
    let own_process = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
    let descriptor = rustix::process::pidfd_getfd(own_process, number, PidfdGetfdFlags::empty())?;
    Ok(Some(descriptor))
}

fn ensure_folder(folder: &Path) -> Result<(), SocketError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(STATE_MODE)
        .create(folder)
        .map_err(failed("make", folder))
}

/// Takes away a socket that an earlier daemon left; one that answers, or anything else, stays.
fn clear_stale(path: &Path) -> Result<(), SocketError> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(failed("look at", path))?,
    };
    if !found.file_type().is_socket() {
        return Err(SocketError::NoSocket {
            path: path.to_owned(),
        });
    }
    match StdStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed("remove", path))
        }
        Err(source) => Err(failed("probe", path)(source)),
        Ok(_) => Err(SocketError::InUse {
            path: path.to_owned(),
        }),
    }
}

/// Binds, sets owner and mode, and only then listens: nobody gets in before they are right.
fn bind(path: &Path, group: Option<&str>) -> Result<(OwnedFd, OwnSocket), SocketError> {
    let group = group.map(group_id).transpose()?;
    let address = SocketAddrUnix::new(path).map_err(failed("name", path))?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let descriptor = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(failed("make", path))?;
    rustix::net::bind(&descriptor, &address).map_err(failed("bind", path))?;
    let own = OwnSocket(path.to_owned());
    chown(path, Some(0), Some(group.unwrap_or(0))).map_err(failed("change the group of", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))
        .map_err(failed("change the mode of", path))?;
    rustix::net::listen(descriptor.as_fd(), BACKLOG).map_err(failed("listen on", path))?;
    Ok((descriptor, own))
}

fn group_id(name: &str) -> Result<u32, SocketError> {
    match nix::unistd::Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        _ => Err(SocketError::NoGroup {
            group: name.to_owned(),
        }),
    }
}

fn into_tokio(descriptor: OwnedFd) -> io::Result<UnixListener> {
    let listener = StdListener::from(descriptor);
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

fn failed<E: Into<io::Error>>(op: &'static str, path: &Path) -> impl FnOnce(E) -> SocketError {
    let path = path.to_owned();
    move |source| SocketError::Io {
        op,
        path,
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(folder: &tempfile::TempDir) -> Config {
        Config {
            socket: folder.path().join("run/snapshotd.sock"),
            ..Config::default()
        }
    }

    #[tokio::test]
    async fn the_socket_is_for_root_and_its_group_alone() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(&folder);
        let listening = listen(&config).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&config.socket), 0o660);
        assert_eq!(mode(config.socket.parent().unwrap()), 0o711);
        drop(listening);
        assert!(!config.socket.exists());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(&folder);
        ensure_folder(config.socket.parent().unwrap()).unwrap();
        drop(StdListener::bind(&config.socket).unwrap());
        let listening = listen(&config).unwrap();
        let second = listen(&config).unwrap_err();
        assert!(matches!(second, SocketError::InUse { .. }), "{second}");
        assert!(config.socket.exists());
        drop(listening);
    }

    #[tokio::test]
    async fn a_file_in_its_place_and_an_unknown_group_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(&folder);
        ensure_folder(config.socket.parent().unwrap()).unwrap();
        fs::write(&config.socket, "precious").unwrap();
        assert!(matches!(listen(&config), Err(SocketError::NoSocket { .. })));
        assert_eq!(fs::read(&config.socket).unwrap(), b"precious");
        config.socket = folder.path().join("other.sock");
        config.group = Some("no-such-group".to_owned());
        assert!(matches!(listen(&config), Err(SocketError::NoGroup { .. })));
        assert!(!config.socket.exists());
    }
}
