//! Who is at the other end, and how many of them.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use snap_api::{ErrorCode, ErrorReport};
use tokio::net::UnixStream;

use crate::error::Result;

/// Connections of all users together, when it is not root that asks for one more; each takes a descriptor.
const MAX_CONNECTIONS: usize = 768;

/// The process at the other end, as the kernel saw it when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) uid: u32,
    pub(super) pid: Option<i32>,
}

impl Peer {
    pub(super) fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        Ok(Self {
            uid: credentials.uid(),
            pid: credentials.pid(),
        })
    }

    /// Refuses what reaches into the host's own files unless it is root that asks: the daemon would read and
    /// write there with rights its peer does not have.
    pub(super) fn require_root(self, what: &str) -> Result<()> {
        let hint = "It touches files of the host with the daemon's rights; run it as root";
        self.root_or(what, hint)
    }

    /// Refuses what looks after the service itself, as starting and stopping it does, unless it is root that asks.
    pub(super) fn require_root_for_service(self, what: &str) -> Result<()> {
        self.root_or(what, "It is upkeep of the service; run it as root")
    }

    /// Refuses to bring processes back, with every secret they had in memory, unless it is root that asks.
    pub(super) fn require_root_for_memory(self) -> Result<()> {
        let hint = "Run it as root, or restore the files alone with --no-memory";
        self.root_or("restore a snapshot that holds memory", hint)
    }

    /// Refuses to tell what processes had open and in memory unless it is root that asks.
    pub(super) fn require_root_to_look_into_memory(self) -> Result<()> {
        let hint = "Whoever may only manage snapshots may restore its files with --no-memory";
        self.root_or("look into the memory of a snapshot", hint)
    }

    /// Refuses to run a program in a container unless it is root that asks.
    pub(super) fn require_root_for_hook(self) -> Result<()> {
        let hint = "It runs with the rights of the container's own processes; run it as root";
        self.root_or("have a program of a container run", hint)
    }

    fn root_or(self, what: &str, hint: &str) -> Result<()> {
        if self.uid == 0 {
            return Ok(());
        }
        let message = format!("Only root may {what}");
        Err(ErrorReport::new(ErrorCode::Denied, "denied", message)
            .hint(hint)
            .into())
    }
}

/// Connections by user.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    counts: Arc<Mutex<HashMap<u32, usize>>>,
    limit: usize,
}

/// The right to one connection; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    counts: Arc<Mutex<HashMap<u32, usize>>>,
    uid: u32,
}

impl Connections {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            counts: Arc::default(),
            limit,
        }
    }

    /// A slot, or a slot just for saying no, or nothing for a user who is not listening.
    pub(super) fn take(&self, peer: Peer) -> Option<Result<Slot, (Slot, ErrorReport)>> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = counts.values().sum();
        let held = counts.entry(peer.uid).or_default();
        // Root always gets in: whoever fills the table must not keep its operator out.
        if *held >= self.limit * 2 || (total >= MAX_CONNECTIONS && peer.uid != 0) {
            return None;
        }
        *held += 1;
        let slot = Slot {
            counts: Arc::clone(&self.counts),
            uid: peer.uid,
        };
        if *held <= self.limit {
            return Some(Ok(slot));
        }
        let message = format!("User {} holds {} connections already", peer.uid, self.limit);
        let refusal = ErrorReport::new(ErrorCode::Limit, "too-many-connections", message)
            .hint("Close some, or raise `connections_per_user`");
        Some(Err((slot, refusal)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = counts.get_mut(&self.uid) {
            *held -= 1;
            if *held == 0 {
                counts.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Peer = Peer {
        uid: 1000,
        pid: None,
    };

    #[test]
    fn a_user_beyond_the_limit_is_told_and_one_far_beyond_is_dropped() {
        let connections = Connections::new(2);
        let mut slots: Vec<Slot> = (0..2)
            .map(|_| connections.take(PEER).unwrap().unwrap())
            .collect();
        for _ in 0..2 {
            let (slot, refusal) = connections.take(PEER).unwrap().unwrap_err();
            assert_eq!(refusal.reason, "too-many-connections");
            slots.push(slot);
        }
        assert!(connections.take(PEER).is_none());
        assert!(
            connections
                .take(Peer { uid: 0, pid: None })
                .unwrap()
                .is_ok()
        );
        drop(slots);
        assert!(connections.take(PEER).unwrap().is_ok());
    }

    #[test]
    fn only_root_touches_the_host() {
        assert!(Peer { uid: 0, pid: None }.require_root("mount").is_ok());
        let report = ErrorReport::from(PEER.require_root("mount").unwrap_err());
        assert_eq!(
            (report.code, report.hint.is_some()),
            (ErrorCode::Denied, true)
        );
    }
}
