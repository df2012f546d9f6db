//! File systems to trees and back.
//!
//! ```text
//! capture: folder or overlay layer ─► scan ─► tree in a draft
//! view:    tree ─► lookup, attributes, read        (knows nothing of FUSE)
//! serve:   view ─► FUSE replies                    (the mount server)
//! extract: tree ─► folder
//! mount:   /dev/fuse, overlay and bind mounts through the kernel's mount API
//! holder:  keeps /dev/fuse descriptors over the death of everybody else
//! ```

pub mod capture;
pub mod diff;
pub mod extract;
pub mod holder;
pub mod mount;
pub mod repair;
#[cfg(test)]
mod sample;
pub mod serve;
pub mod verify;
pub mod view;
