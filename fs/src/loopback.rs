//! The loopback interface of a network namespace, brought up.
//!
//! runc does so for containers that begin anew, and leaves it to others where CRIU makes the processes: they would find
//! themselves in a network where not even 127.0.0.1 can be reached.

use std::{fs::File, io::Read, os::fd::AsRawFd};

use anyhow::{Context, Result, ensure};
use nix::{
    sched::{CloneFlags, setns},
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto,
        socket,
    },
};
use serde::Deserialize;

/// Far more than runc says of a container.
const MAX_STATE_BYTES: u64 = 1 << 20;
/// The number of the loopback interface in every network namespace.
const LOOPBACK: i32 = 1;
const IFF_UP: u32 = 1;
const RTM_NEWLINK: u16 = 16;
const NLMSG_ERROR: u16 = 2;
/// That it is a request, and that it is to be answered.
const NLM_F_REQUEST_ACK: u16 = 1 | 4;
/// Header and body of the message.
const MESSAGE_BYTES: u32 = 32;

/// What is read of a container's state, as runc hands it to hooks.
#[derive(Deserialize)]
struct State {
    pid: u32,
}

/// Brings up the loopback of the process that the state on standard input names.
pub(crate) fn raise() -> Result<()> {
    let mut text = Vec::new();
    std::io::stdin()
        .take(MAX_STATE_BYTES)
        .read_to_end(&mut text)
        .context("Read the container's state")?;
    let state: State = serde_json::from_slice(&text).context("Understand the container's state")?;
    let path = format!("/proc/{}/ns/net", state.pid);
    let namespace = File::open(&path).with_context(|| format!("Open {path}"))?;
    setns(namespace, CloneFlags::CLONE_NEWNET).with_context(|| format!("Enter {path}"))?;
    bring_up().context("Bring up the loopback interface")
}

fn bring_up() -> Result<()> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    let kernel = NetlinkAddr::new(0, 0);
    sendto(socket.as_raw_fd(), &message(), &kernel, MsgFlags::empty())?;
    let mut answer = [0; 1024];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    check(&answer[..length])
}

/// The request, as rtnetlink(7) has it.
fn message() -> Vec<u8> {
    let mut message = Vec::with_capacity(MESSAGE_BYTES as usize);
    message.extend(MESSAGE_BYTES.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    // Sequence, port; family, type.
    message.extend([0; 12]);
    message.extend(LOOPBACK.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    // Of the flags, those that change.
    message.extend(IFF_UP.to_ne_bytes());
    message
}

/// The kernel's answer: an error number, zero when there was none.
fn check(answer: &[u8]) -> Result<()> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok());
    let error = answer.get(16..20).and_then(|bytes| bytes.try_into().ok());
    ensure!(
        kind.map(u16::from_ne_bytes) == Some(NLMSG_ERROR),
        "The kernel answers with something else"
    );
    let error = error.map_or(i32::MIN, i32::from_ne_bytes);
    match error {
        0 => Ok(()),
        error => Err(std::io::Error::from_raw_os_error(-error).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_as_long_as_it_says() {
        assert_eq!(message().len(), MESSAGE_BYTES as usize);
    }

    #[test]
    fn an_answer_is_an_error_number_or_none() {
        let answer = |error: i32| {
            let mut bytes = vec![0; 16];
            bytes[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
            bytes.extend(error.to_ne_bytes());
            bytes
        };
        check(&answer(0)).unwrap();
        let refused = check(&answer(-1)).unwrap_err();
        assert!(refused.to_string().contains("not permitted"), "{refused}");
        assert!(check(&[]).is_err());
    }
}
