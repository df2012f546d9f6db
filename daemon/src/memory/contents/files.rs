//! What processes have open, by the number each has in the images.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use snap_api::OpenView;

use super::{
    cut,
    framing::{self, Image},
    messages::{Descriptor, Inet, OpenFile, Unix},
};

/// Kinds by their number.
const KINDS: [&str; 21] = [
    "unknown",
    "file",
    "pipe",
    "fifo",
    "inet-socket",
    "unix-socket",
    "eventfd",
    "epoll",
    "inotify",
    "signalfd",
    "packet-socket",
    "terminal",
    "fanotify",
    "netlink-socket",
    "namespace",
    "tun",
    "external",
    "timerfd",
    "memfd",
    "bpf-map",
    "pidfd",
];
/// More than this is not kept.
const MAX_FILES: usize = 1 << 16;
/// Of a socket: it waits for connections, it has one.
const LISTENING: u32 = 10;
const ESTABLISHED: u32 = 1;
const IPV6: u32 = 10;
const UDP: u32 = 17;
const TCP: u32 = 6;

/// Everything that is open in any process.
#[derive(Debug, Default)]
pub(super) struct OpenFiles(BTreeMap<u32, Known>);

#[derive(Debug)]
struct Known {
    what: String,
    is_path: bool,
}

impl OpenFiles {
    /// Adds what the image lists; false when that was not all.
    pub(super) fn read(&mut self, image: &Image) -> bool {
        for message in image.messages() {
            let Some(file) = message.and_then(framing::decode::<OpenFile>) else {
                return false;
            };
            if self.0.len() >= MAX_FILES {
                return false;
            }
            self.0.insert(file.id, known(&file));
        }
        true
    }

    /// The path of a file.
    pub(super) fn path(&self, id: u32) -> Option<&str> {
        let known = self.0.get(&id).filter(|known| known.is_path);
        known.map(|known| &*known.what)
    }

    /// A descriptor for people.
    pub(super) fn view(&self, descriptor: &Descriptor) -> OpenView {
        let kind = KINDS.get(descriptor.kind as usize).unwrap_or(&KINDS[0]);
        let known = self.0.get(&descriptor.file);
        OpenView {
            descriptor: descriptor.number,
            kind: (*kind).to_owned(),
            what: known
                .map(|known| known.what.clone())
                .filter(|what| !what.is_empty()),
        }
    }
}

fn known(file: &OpenFile) -> Known {
    let (what, is_path) = match file {
        OpenFile {
            regular: Some(regular),
            ..
        } => (cut(&regular.path), true),
        OpenFile {
            inet: Some(socket), ..
        } => (inet(socket), false),
        OpenFile {
            unix: Some(socket), ..
        } => (unix(socket), false),
        _ => (String::new(), false),
    };
    Known { what, is_path }
}

fn inet(socket: &Inet) -> String {
    let protocol = match socket.protocol {
        TCP => "tcp".to_owned(),
        UDP => "udp".to_owned(),
        other => format!("protocol {other}"),
    };
    let own = address(socket.family, &socket.address, socket.port);
    match socket.state {
        LISTENING => format!("{protocol} {own} listening"),
        ESTABLISHED => {
            let peer = address(socket.family, &socket.peer_address, socket.peer_port);
            format!("{protocol} {own} to {peer}")
        }
        _ => format!("{protocol} {own}"),
    }
}

/// An address as the kernel keeps it: in words whose bytes are in the order of the network.
fn address(family: u32, words: &[u32], port: u32) -> String {
    let word = |at: usize| words.get(at).copied().unwrap_or_default().to_le_bytes();
    let port = u16::try_from(port).unwrap_or_default();
    let address = match family {
        IPV6 => {
            let mut bytes = [0; 16];
            (0..4).for_each(|at| bytes[4 * at..][..4].copy_from_slice(&word(at)));
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => IpAddr::V4(Ipv4Addr::from(word(0))),
    };
    SocketAddr::new(address, port).to_string()
}

fn unix(socket: &Unix) -> String {
    let name = String::from_utf8_lossy(&socket.name);
    // An abstract name begins with NUL, and `@` stands for it everywhere.
    let name = cut(&name.trim_end_matches('\0').replace('\0', "@"));
    match socket.state {
        LISTENING => format!("{name} listening"),
        _ => name,
    }
}
