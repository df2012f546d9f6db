//! The holder: a tiny process that keeps descriptors by name, so that no other process has to live for them.
//!
//! A FUSE mount lives as long as somebody has its device open. The daemon and the mount server may both die; the
//! holder does nothing but wait, and gives the descriptor to whoever takes over. It speaks to its own user alone,
//! through a socket of mode 0600, one request a connection:
//!
//! | request | answer |
//! |---|---|
//! | `P` name, with the descriptor | `+` |
//! | `G` name | `+` with the descriptor, `-` when there is none |
//! | `L` | `+` and the names, a line each |
//! | `D` name | `+` |
//!
//! `!` and a reason answers what cannot be done. It ends when it has held nothing for [`IDLE`].

use std::{
    collections::BTreeMap,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

mod client;
mod server;

pub use client::Holder;
pub use server::hold;

/// How long a holder that holds nothing waits before it ends.
pub const IDLE: Duration = Duration::from_secs(60);
/// Longest name.
const MAX_NAME_BYTES: usize = 64;
/// Descriptors held at once; a host has fewer snapshots mounted.
const MAX_HELD: usize = 1024;
/// Longest message: a list of all names.
const MAX_MESSAGE_BYTES: usize = MAX_HELD * (MAX_NAME_BYTES + 1) + 1;
/// How long either side waits for the other's message.
const PATIENCE: Duration = Duration::from_secs(5);

const OK: u8 = b'+';
const NONE: u8 = b'-';
const REFUSED: u8 = b'!';

type Held = BTreeMap<String, OwnedFd>;

/// Sends one message, with a descriptor if there is one.
fn send(socket: BorrowedFd<'_>, message: &[u8], passed: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let rights = passed.map(|descriptor| [descriptor]);
    if let Some(rights) = &rights {
        control.push(SendAncillaryMessage::ScmRights(rights));
    }
    let parts = [IoSlice::new(message)];
    sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one message and the descriptor that came with it. An empty one means that the other side has gone.
fn receive(socket: BorrowedFd<'_>) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut buffer = vec![0; MAX_MESSAGE_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let received = recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut passed = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            passed = descriptors.last();
        }
    }
    buffer.truncate(received.bytes);
    Ok((buffer, passed))
}

/// A socket that does not wait for ever.
fn patient(socket: &OwnedFd) -> io::Result<()> {
    use rustix::net::sockopt::{Timeout, set_socket_timeout};
    set_socket_timeout(socket.as_fd(), Timeout::Recv, Some(PATIENCE))?;
    set_socket_timeout(socket.as_fd(), Timeout::Send, Some(PATIENCE))?;
    Ok(())
}

#[cfg(test)]
mod tests;
