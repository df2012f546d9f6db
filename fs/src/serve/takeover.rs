//! Going on where a server that is gone has left off.
//!
//! The kernel says INIT once in a connection's life, and fuser begins nothing without it. So fuser is given one end
//! of a socket pair and an INIT of our own making; when it has answered, the real device is put in the place of that
//! end, under the same descriptor number. What the handshake settles stays in the kernel, which is not asked again:
//! the answer to ours is thrown away. This relies on how fuser uses its descriptor, and the exact version is pinned
//! for it. The number is that of standard input, the one descriptor that can be exchanged without unsafe code.
//!
//! Requests that the earlier server took and did not answer are sent again by the kernel when it is told to, from
//! Linux 6.9 on; before, they wait until the mount ends. The device must never have been cloned: what waits at a
//! clone dies with it.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use fuser::{Config, Filesystem, Session, SessionACL};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tracing::warn;

/// The protocol version offered; no lower than what fuser speaks.
const VERSION: (u32, u32) = (7, 45);
/// The kernel's number for INIT.
const INIT: u32 = 26;
/// Length of an INIT request: header and body.
const INIT_BYTES: usize = 104;
/// Length of the header of an answer.
const ANSWER_HEADER_BYTES: usize = 16;
/// All features but the highest bit, which no kernel sets.
const ALL_FEATURES: u32 = u32::MAX >> 1;
/// The kernel's number for "send again what was not answered".
const NOTIFY_RESEND: i32 = 7;

/// Where a session sits before the device takes its place: standard input is one end of a socket pair.
#[derive(Debug)]
pub struct Seat {
    session: OwnedFd,
    other: OwnedFd,
}

impl Seat {
    /// Takes the place of standard input, whatever is there. To be called while the process has one thread:
    /// a descriptor that another one opens at the same moment would land there.
    ///
    /// # Errors
    /// What the system says.
    pub fn take() -> io::Result<Self> {
        let number = io::stdin().as_raw_fd();
        nix::unistd::close(number)?;
        // The kernel gives the lowest free number first.
        let (session, other) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        if session.as_raw_fd() != number {
            return Err(io::Error::other("standard input is not free to be used"));
        }
        Ok(Self { session, other })
    }

    /// A session that goes on with `device`, whose INIT was answered by an earlier server.
    pub(super) fn session<S: Filesystem>(
        self,
        server: S,
        device: &OwnedFd,
        config: Config,
        max_readahead: u32,
    ) -> io::Result<Session<S>> {
        rustix::io::write(&self.other, &init(max_readahead))?;
        let session = Session::from_fd(server, self.session, SessionACL::All, config)?;
        let mut answer = [0; 256];
        let length = rustix::io::read(&self.other, &mut answer)?;
        check(&answer[..length])?;
        // From here on the session's descriptor is the device: the number stays, what it stands for changes.
        nix::unistd::dup2_stdin(device)?;
        if let Err(error) = resend(device.as_fd()) {
            warn!(%error, "Requests that the earlier server did not answer wait for ever");
        }
        Ok(session)
    }
}

/// Has the kernel send again every request of the connection that was taken and not answered.
///
/// # Errors
/// What the kernel says: one before Linux 6.9 refuses.
pub fn resend(device: BorrowedFd<'_>) -> io::Result<()> {
    let mut message = Vec::with_capacity(ANSWER_HEADER_BYTES);
    message.extend(16_u32.to_ne_bytes());
    message.extend(NOTIFY_RESEND.to_ne_bytes());
    message.extend(0_u64.to_ne_bytes());
    rustix::io::write(device, &message)?;
    Ok(())
}

/// Answers a request with an input/output error, in the place of a thread that may still be at it. The thread's own answer
/// comes too late then, which the kernel takes no notice of; when the thread is faster, the same holds of this one.
pub(super) fn refuse(device: BorrowedFd<'_>, unique: u64) {
    let mut message = Vec::with_capacity(ANSWER_HEADER_BYTES);
    message.extend(16_u32.to_ne_bytes());
    message.extend((-Errno::IO.raw_os_error()).to_ne_bytes());
    message.extend(unique.to_ne_bytes());
    let _ = rustix::io::write(device, &message);
}

/// An INIT as the kernel would send it.
fn init(max_readahead: u32) -> Vec<u8> {
    let mut message = Vec::with_capacity(INIT_BYTES);
    for word in [INIT_BYTES as u32, INIT] {
        message.extend(word.to_ne_bytes());
    }
    // Its number and its node, then owner, group, process and padding.
    message.extend(2_u64.to_ne_bytes());
    message.extend(0_u64.to_ne_bytes());
    message.extend([0; 16]);
    for word in [VERSION.0, VERSION.1, max_readahead, ALL_FEATURES, u32::MAX] {
        message.extend(word.to_ne_bytes());
    }
    message.resize(INIT_BYTES, 0);
    message
}

/// Looks that the session took the handshake.
fn check(answer: &[u8]) -> io::Result<()> {
    let refused = |why: &str| io::Error::other(format!("the handshake of a take-over {why}"));
    let error = answer
        .get(4..8)
        .and_then(|bytes| bytes.try_into().ok())
        .map(i32::from_ne_bytes);
    match error {
        Some(0) if answer.len() > ANSWER_HEADER_BYTES => Ok(()),
        Some(error) => Err(refused(&format!("was answered with error {error}"))),
        None => Err(refused("was not answered")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_init_is_as_long_as_it_says() {
        let message = init(1 << 20);
        assert_eq!(message.len(), INIT_BYTES);
        assert_eq!(message[..4], (INIT_BYTES as u32).to_ne_bytes());
    }

    #[test]
    fn an_answer_without_content_or_with_an_error_is_refused() {
        let mut answer = [0; 80];
        check(&answer).unwrap();
        assert!(check(&answer[..16]).is_err());
        assert!(check(&answer[..3]).is_err());
        answer[4..8].copy_from_slice(&(-71_i32).to_ne_bytes());
        assert!(check(&answer).is_err());
    }
}
