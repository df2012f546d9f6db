//! What a view can answer instead of a result.

/// The result of every question to a view.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A situation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node is no folder.
    #[error("It is no folder")]
    NotADirectory,
    /// The node is a folder.
    #[error("It is a folder")]
    IsADirectory,
    /// The node is no regular file.
    #[error("It is no regular file")]
    NotAFile,
    /// The node is no symbolic link.
    #[error("It is no symbolic link")]
    NotALink,
    /// It has no extended attribute of that name.
    #[error("It has no such extended attribute")]
    NoAttribute,
    /// Neither data nor holes follow.
    #[error("The offset is beyond the end")]
    BeyondEnd,
    /// No node has this number; the caller mixes up snapshots.
    #[error("No node has this number")]
    Stale,
    /// The store could not give what the snapshot needs; verify it.
    #[error(transparent)]
    Store(#[from] snap_store::Error),
}
