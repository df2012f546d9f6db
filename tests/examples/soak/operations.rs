//! What a worker does with snapshots, and what upkeep does.

mod captures;
mod folders;
mod restores;
mod upkeep;

pub(crate) use captures::remove_failed;
pub(crate) use folders::end_doubtful_mount;
pub(crate) use restores::end_doubtful_restores;
pub(crate) use upkeep::{Upkeep, is_gone, is_sound};
