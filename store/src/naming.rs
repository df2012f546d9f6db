//! What the rules for names, versions and pins forbid, or were asked for and is not there.

use crate::{
    ids::SnapshotId,
    names::{Namespace, SnapshotName},
};

/// A situation around names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamingError {
    /// Nothing was ever called so; check the name and the namespace.
    #[error("There is no name {name} in namespace {namespace}")]
    UnknownName {
        /// The name, without tag.
        name: String,
        /// Where it was looked for.
        namespace: Namespace,
    },
    /// The name has not come so far yet; look at its history.
    #[error("Version {version} of {name} was never made: its greatest is {last}")]
    NeverMade {
        /// The name, without tag.
        name: String,
        /// What was asked for.
        version: u64,
        /// The greatest number it has given, 0 for none.
        last: u64,
    },
    /// It was there; choose another version.
    #[error("Version {version} of {name} is gone: it was removed or has expired")]
    Gone {
        /// The name, without tag.
        name: String,
        /// What was asked for.
        version: u64,
    },
    /// It is there and cannot be used; choose another version.
    #[error("Version {version} of {name} is {state}")]
    NotActive {
        /// The name, without tag.
        name: String,
        /// What was asked for.
        version: u64,
        /// Its state.
        state: &'static str,
    },
    /// `latest` does not fall back to an older version; roll back, tag or create.
    #[error(
        "{name}:latest points to nothing: {why}, and it does not fall back to an older version"
    )]
    LatestGone {
        /// The name, without tag.
        name: String,
        /// What became of what it pointed to.
        why: String,
    },
    /// There is nowhere to go back to.
    #[error("{name} has no active version{before} to go back to")]
    NoOlder {
        /// The name, without tag.
        name: String,
        /// Before which one: ` before 3`, or nothing.
        before: String,
    },
    /// There was no rollback, or each was undone.
    #[error("There is no rollback of {name} to undo")]
    NothingToUndo {
        /// The name, without tag.
        name: String,
    },
    /// An undo would take back more than the rollback; name the version to go to.
    #[error(
        "{name}:latest was moved by `{cause}` since its last rollback, which cannot be undone any more"
    )]
    MovedSince {
        /// The name, without tag.
        name: String,
        /// By what.
        cause: &'static str,
    },
    /// What an undo would go back to is no longer there.
    #[error("What {name}:latest pointed to before its last rollback is gone")]
    UndoGone {
        /// The name, without tag.
        name: String,
    },
    /// The tag stays where it is until it is taken away by force.
    #[error("Tag {tag} is immutable and belongs to snapshot {snapshot}")]
    Immutable {
        /// The tag.
        tag: SnapshotName,
        /// What it points to.
        snapshot: SnapshotId,
    },
    /// `latest` moves with every create.
    #[error("{tag} cannot be immutable: it moves with every create under its name")]
    LatestMoves {
        /// The tag.
        tag: SnapshotName,
    },
    /// What an immutable tag points to stays, unless it is removed by force.
    #[error("Snapshot {snapshot} bears the immutable tag {tag}")]
    BearsImmutable {
        /// The snapshot.
        snapshot: SnapshotId,
        /// The tag.
        tag: SnapshotName,
    },
    /// It stays until it is unpinned.
    #[error("Snapshot {snapshot} is pinned")]
    Pinned {
        /// The snapshot.
        snapshot: SnapshotId,
    },
    /// It was removed, and can be taken back.
    #[error("Snapshot {reference} is in the trash")]
    InTrash {
        /// What was asked for.
        reference: String,
        /// The snapshot.
        snapshot: SnapshotId,
    },
    /// The number of a version is no tag that could be taken away.
    #[error("{name} is a version, not a tag: it is there as long as its snapshot is")]
    IsVersion {
        /// The version.
        name: SnapshotName,
    },
}
