//! Looking for damage in the packs, and mending it.
//!
//! A [`Survey`] says of each pack whether it is one, and of each chunk whether its bytes are those of its digest. Every pack is
//! read from its beginning to its end and every chunk once, whoever needs it. It changes nothing, and what is
//! damaged does not end it; only a disk that refuses for another reason than its medium does.
//!
//! A [`Salvage`] rewrites the packs a survey has found damaged, with everything of them that is sound or was found elsewhere.

mod recut;
mod salvage;
mod survey;
#[cfg(test)]
mod tests;
mod wanted;

use rustix::io::Errno;

pub use recut::{ChunkKind, TakeChunk, recut};
pub use salvage::Salvage;
pub use survey::{Flaw, PackFlaw, Survey};
pub use wanted::Wanted;

use crate::error::Error;

/// What a file system answers when the medium beneath it has lost something.
const OF_THE_MEDIUM: [Errno; 6] = [
    Errno::IO,
    Errno::UCLEAN,
    Errno::BADMSG,
    Errno::ILSEQ,
    Errno::NODATA,
    Errno::REMOTEIO,
];

/// True when the error says that stored bytes are damaged or cannot be had, rather than that something passes. A pack of
/// another version is damaged too: what a later release writes is said by the store's own format.
pub(crate) fn is_damage(error: &Error) -> bool {
    match error {
        Error::Corrupt { .. } | Error::Incompatible { .. } => true,
        Error::Io { source, .. } => source
            .raw_os_error()
            .is_some_and(|code| OF_THE_MEDIUM.contains(&Errno::from_raw_os_error(code))),
        _ => false,
    }
}
