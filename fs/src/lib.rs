//! File systems to trees and back.
//!
//! ```text
//! capture: folder or overlay layer ─► scan ─► tree in a draft
//! images:  memory of processes ─► tree in a draft
//! view:    tree ─► lookup, attributes, read        (knows nothing of FUSE)
//! serve:   view ─► FUSE replies                    (the mount server)
//! foresee: trace of an earlier mount ─► chunks read ahead of need
//! extract: tree ─► folder
//! mount:   /dev/fuse, overlay and bind mounts through the kernel's mount API
//! holder:  keeps /dev/fuse descriptors over the death of everybody else
//! ```

pub mod capture;
#[cfg(test)]
mod damage;
pub mod diff;
pub mod extract;
pub mod foresee;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz_targets;
pub mod holder;
pub mod images;
pub mod mount;
pub mod repair;
#[cfg(test)]
mod sample;
pub mod serve;
pub mod traces;
pub mod verify;
pub mod view;
