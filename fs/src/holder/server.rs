//! The process that holds.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, chmod},
    io::Errno,
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen,
        socket_with, sockopt::socket_peercred,
    },
    process::geteuid,
};
use snap_store::{Error, Result};
use tracing::{info, warn};

use super::{Held, Holder, MAX_HELD, MAX_NAME_BYTES, NONE, OK, REFUSED, patient, receive, send};

/// Connections that may wait.
const BACKLOG: i32 = 64;

/// Holds descriptors behind `socket` until it has held nothing for `idle`. Calls `ready` once it can be asked.
///
/// # Errors
/// [`Error::Busy`] when another holder answers there, [`Error::Io`] when the socket cannot be made.
pub fn hold(socket: &Path, idle: Duration, ready: impl FnOnce()) -> Result<()> {
    if Holder::at(socket).is_alive() {
        return Err(Error::Busy {
            what: "Holder",
            name: socket.display().to_string(),
            why: "runs already".to_owned(),
        });
    }
    let listener = Listener::new(socket).map_err(Error::io("listen at", socket))?;
    ready();
    let mut held = Held::new();
    loop {
        let has_peer = listener.wait(idle).map_err(Error::io("wait at", socket))?;
        if !has_peer && held.is_empty() {
            return Ok(());
        }
        if has_peer && let Err(error) = listener.answer(&mut held) {
            warn!(%error, "Cannot answer");
        }
    }
}

/// The socket; its name goes with it.
struct Listener {
    socket: OwnedFd,
    path: PathBuf,
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Listener {
    fn new(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // A connection may be gone again before it is accepted; the process must not wait for the next one then.
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        bind(&socket, &SocketAddrUnix::new(path)?)?;
        // Nobody can connect before `listen`, so nobody can before the mode is set.
        chmod(path, Mode::RUSR | Mode::WUSR)?;
        listen(&socket, BACKLOG)?;
        Ok(Self {
            socket,
            path: path.to_owned(),
        })
    }

    /// True when somebody wants to be answered, false after `idle`.
    fn wait(&self, idle: Duration) -> io::Result<bool> {
        let timeout = Timespec {
            tv_sec: i64::try_from(idle.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: idle.subsec_nanos().into(),
        };
        let mut waited = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut waited, Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    fn answer(&self, held: &mut Held) -> io::Result<()> {
        let peer = match accept_with(&self.socket, SocketFlags::CLOEXEC) {
            Err(Errno::AGAIN) => return Ok(()),
            accepted => accepted?,
        };
        patient(&peer)?;
        if socket_peercred(&peer)?.uid != geteuid() {
            return send(peer.as_fd(), &refusal("it is not your holder"), None);
        }
        let (request, passed) = receive(peer.as_fd())?;
        let Some((&verb, name)) = request.split_first() else {
            return Ok(());
        };
        let Ok(name) = std::str::from_utf8(name) else {
            return send(peer.as_fd(), &refusal("the name is not UTF-8"), None);
        };
        let (answer, given) = act(held, verb, name, passed);
        let given = given.and_then(|name| held.get(&name));
        send(peer.as_fd(), &answer, given.map(AsFd::as_fd))
    }
}

/// Does what is asked; returns the answer and the name of what goes with it.
fn act(
    held: &mut Held,
    verb: u8,
    name: &str,
    passed: Option<OwnedFd>,
) -> (Vec<u8>, Option<String>) {
    match (verb, passed) {
        (b'P', Some(_)) if !is_name(name) => (refusal("that is no name"), None),
        (b'P', Some(_)) if held.len() >= MAX_HELD && !held.contains_key(name) => {
            (refusal("it holds as much as it may"), None)
        }
        (b'P', Some(passed)) => {
            info!(name, "Holding");
            held.insert(name.to_owned(), passed);
            (vec![OK], None)
        }
        (b'G', None) if held.contains_key(name) => (vec![OK], Some(name.to_owned())),
        (b'G', None) => (vec![NONE], None),
        (b'L', None) => {
            let names: Vec<_> = held.keys().map(String::as_str).collect();
            ([&[OK], names.join("\n").as_bytes()].concat(), None)
        }
        (b'D', None) => {
            info!(name, "Letting go");
            held.remove(name);
            (vec![OK], None)
        }
        _ => (refusal("that is no request"), None),
    }
}

fn is_name(name: &str) -> bool {
    let is_printable = |byte: u8| byte.is_ascii_graphic();
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.bytes().all(is_printable)
}

fn refusal(reason: &str) -> Vec<u8> {
    [&[REFUSED], reason.as_bytes()].concat()
}
