//! Unix sockets whose other end is outside of the container: it goes on with the original alone.
//!
//! Who is connected to whom only the kernel's socket diagnosis says, and it speaks of the network namespace of who asks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    os::fd::OwnedFd,
    thread,
};

use nix::{
    sched::{CloneFlags, setns},
    sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket},
};

use super::Reason;

/// Message types of netlink, and flags of a request for everything there is.
const DONE: u16 = 3;
const FAILED: u16 = 2;
const BY_FAMILY: u16 = 20;
const EVERYTHING: u16 = 0x301;
/// Wanted beside what is always told: the peer, in an attribute of this number.
const SHOW_PEER: u32 = 4;
const PEER: u16 = 2;
const HEADER_BYTES: usize = 16;
const UNIX: u8 = 1;
/// Of an answer, before its attributes.
const ANSWER_BYTES: usize = 16;
/// Larger than the kernel makes one part of an answer.
const PART_BYTES: usize = 64 << 10;
/// More parts than the sockets of any host fill.
const MAX_PARTS: usize = 1 << 16;

/// The processes that hold such sockets, each once.
pub(super) fn find(pids: &[u32], first: u32) -> Vec<(u32, Reason)> {
    let mut held = BTreeMap::new();
    for &pid in pids {
        let entries = fs::read_dir(format!("/proc/{pid}/fd"));
        for entry in entries.into_iter().flatten().flatten() {
            let link = fs::read_link(entry.path()).unwrap_or_default();
            if let Some(number) = socket_number(&link.to_string_lossy()) {
                held.entry(number).or_insert(pid);
            }
        }
    }
    if held.is_empty() {
        return Vec::new();
    }
    // A kernel that does not say leaves it to CRIU.
    judge(&held, &peers(first).unwrap_or_default())
}

fn judge(held: &BTreeMap<u32, u32>, peers: &BTreeMap<u32, u32>) -> Vec<(u32, Reason)> {
    let outside = held.iter().filter(|(number, _)| {
        // None for who is not connected, and for who was not accepted yet.
        let peer = peers.get(number).filter(|peer| **peer != 0);
        peer.is_some_and(|peer| !held.contains_key(peer))
    });
    let pids: BTreeSet<u32> = outside.map(|(_, pid)| *pid).collect();
    let told = pids.into_iter().map(|pid| {
        let what = "is connected to a Unix socket outside of the container".to_owned();
        (
            pid,
            ("unix-socket", what, "Have it close that connection first"),
        )
    });
    told.collect()
}

fn socket_number(link: &str) -> Option<u32> {
    link.strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

/// The Unix sockets of `pid`'s network, each with its peer. In a thread of its own: a namespace is entered by one thread alone.
fn peers(pid: u32) -> io::Result<BTreeMap<u32, u32>> {
    let asking = move || -> io::Result<_> {
        setns(
            File::open(format!("/proc/{pid}/ns/net"))?,
            CloneFlags::CLONE_NEWNET,
        )?;
        ask()
    };
    let asked = thread::Builder::new().spawn(asking)?.join();
    asked.unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
}

fn ask() -> io::Result<BTreeMap<u32, u32>> {
    let diagnosis: OwnedFd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    rustix::io::write(&diagnosis, &request())?;
    let mut found = BTreeMap::new();
    let mut part = vec![0; PART_BYTES];
    for _ in 0..MAX_PARTS {
        let bytes = rustix::io::read(&diagnosis, &mut part)?;
        if bytes == 0 || !read_part(&part[..bytes], &mut found) {
            break;
        }
    }
    Ok(found)
}

/// Every Unix socket, in whatever state, and its peer.
fn request() -> Vec<u8> {
    let mut body = vec![UNIX, 0, 0, 0];
    for word in [u32::MAX, 0, SHOW_PEER, u32::MAX, u32::MAX] {
        body.extend(word.to_ne_bytes());
    }
    let length = u32::try_from(HEADER_BYTES + body.len()).unwrap_or(u32::MAX);
    let mut message = Vec::from(length.to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(EVERYTHING.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// Adds what one part of the answer says; false when it was the last.
fn read_part(mut part: &[u8], found: &mut BTreeMap<u32, u32>) -> bool {
    while let Some(header) = part.get(..HEADER_BYTES) {
        let length = word(header, 0).unwrap_or(0) as usize;
        let kind = half_word(header, 4).unwrap_or(DONE);
        let Some(message) = part.get(HEADER_BYTES..length) else {
            return false;
        };
        match kind {
            DONE | FAILED => return false,
            BY_FAMILY => found.extend(read_answer(message)),
            _ => {}
        }
        part = part.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    true
}

/// A socket and its peer.
fn read_answer(message: &[u8]) -> Option<(u32, u32)> {
    let number = word(message, 4)?;
    let mut attributes = message.get(ANSWER_BYTES..)?;
    loop {
        let length = usize::from(half_word(attributes, 0)?);
        let value = attributes.get(4..length)?;
        if half_word(attributes, 2)? == PEER {
            return Some((number, word(value, 0)?));
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_ne_bytes(bytes))
}

fn half_word(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(u16::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn number_of(stream: &UnixStream) -> u32 {
        use std::os::fd::AsRawFd;
        let link = fs::read_link(format!("/proc/self/fd/{}", stream.as_raw_fd())).unwrap();
        socket_number(&link.to_string_lossy()).unwrap()
    }

    #[test]
    fn the_kernel_tells_both_ends_of_a_connection() {
        let (one, other) = UnixStream::pair().unwrap();
        let found = ask().unwrap();
        assert_eq!(found.get(&number_of(&one)), Some(&number_of(&other)));
        assert_eq!(found.get(&number_of(&other)), Some(&number_of(&one)));
    }

    #[test]
    fn only_who_is_connected_to_the_outside_is_named() {
        let held = BTreeMap::from([(1, 70), (2, 70), (3, 71), (4, 72), (5, 72)]);
        let peers = BTreeMap::from([(1, 2), (2, 1), (3, 99), (4, 0), (5, 98)]);
        let found = judge(&held, &peers);
        let pids: Vec<u32> = found.iter().map(|(pid, _)| *pid).collect();
        assert_eq!(pids, [71, 72]);
        assert_eq!(socket_number("socket:[12]"), Some(12));
        assert_eq!(socket_number("pipe:[12]"), None);
    }

    #[test]
    fn an_answer_that_is_cut_short_is_read_as_far_as_it_goes() {
        let mut found = BTreeMap::new();
        for bytes in [&[][..], &[255; 15], &[255; 200], &[0; 64]] {
            read_part(bytes, &mut found);
        }
        assert!(found.is_empty());
        assert_eq!(read_answer(&[0; 20]), None);
    }
}
