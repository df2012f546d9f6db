//! The side of those who have something held.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use snap_store::{Error, Result};

use super::{NONE, OK, REFUSED, patient, receive, send};

/// A holder, by its socket; connects anew for every request.
#[derive(Clone, Debug)]
pub struct Holder {
    socket: PathBuf,
}

impl Holder {
    /// The holder at `socket`; nothing is tried yet.
    #[must_use]
    pub fn at(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// True when it answers.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.list().is_ok()
    }

    /// Has a duplicate of `descriptor` held under `name`, instead of what was held under it before.
    ///
    /// # Errors
    /// [`Error::Io`] when no holder answers, [`Error::Invalid`] when it refuses.
    pub fn put(&self, name: &str, descriptor: BorrowedFd<'_>) -> Result<()> {
        self.ask(b'P', name, Some(descriptor)).map(drop)
    }

    /// A duplicate of what is held under `name`; `None` when nothing is.
    ///
    /// # Errors
    /// As [`Holder::put`].
    pub fn get(&self, name: &str) -> Result<Option<OwnedFd>> {
        self.ask(b'G', name, None).map(|(_, passed)| passed)
    }

    /// The names under which something is held, sorted.
    ///
    /// # Errors
    /// As [`Holder::put`].
    pub fn list(&self) -> Result<Vec<String>> {
        let (names, _) = self.ask(b'L', "", None)?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Lets go of what is held under `name`; no error when nothing is.
    ///
    /// # Errors
    /// As [`Holder::put`].
    pub fn remove(&self, name: &str) -> Result<()> {
        self.ask(b'D', name, None).map(drop)
    }

    fn ask(
        &self,
        verb: u8,
        name: &str,
        passed: Option<BorrowedFd<'_>>,
    ) -> Result<(String, Option<OwnedFd>)> {
        let answer = self.exchange(verb, name, passed);
        let (answer, passed) = answer.map_err(Error::io("ask the holder at", &self.socket))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match answer.split_first() {
            Some((&OK, rest)) => Ok((text(rest), passed)),
            Some((&NONE, _)) => Ok((String::new(), None)),
            Some((&REFUSED, reason)) => Err(Error::Invalid {
                what: "request to the holder",
                why: text(reason),
            }),
            _ => Err(Error::io("understand the holder at", &self.socket)(
                io::Error::from(io::ErrorKind::InvalidData),
            )),
        }
    }

    fn exchange(
        &self,
        verb: u8,
        name: &str,
        passed: Option<BorrowedFd<'_>>,
    ) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        patient(&socket)?;
        connect(&socket, &SocketAddrUnix::new(&*self.socket)?)?;
        let request = [&[verb], name.as_bytes()].concat();
        send(socket.as_fd(), &request, passed)?;
        receive(socket.as_fd())
    }
}
