//! The snapshot daemon.
//!
//! ```text
//! server ──► jobs ──► create ─┬► containerd   pause ─► snap_fs::capture ─► snap_store
//!    │                        └► ...
//!    │          └──► restore ──► mounts ─► mount server, overlay ─► containers ─► containerd
//!    └──► catalogue (list, show, history, rollback, remove, ttl, tag, pin)
//! settle (at start), expiry (by the hour), events (containerd's) ──► the same recipes
//! ```
//!
//! Everything is reached through [`Host`]; recipes are async and cross into the synchronous crates with one
//! `spawn_blocking` a step.

mod attached;
mod auto;
pub mod backup;
mod ballast;
mod blocking;
pub mod clock;
pub mod collect;
pub mod config;
pub mod containerd;
pub mod containers;
pub mod create;
pub mod doctor;
pub mod due;
pub mod error;
pub mod events;
pub mod expiry;
mod files;
#[cfg(test)]
mod fixture;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz_targets;
mod hooks;
pub mod host;
pub mod jobs;
pub mod logs;
mod memory;
pub mod mounts;
pub mod pause;
mod programs;
mod quota;
pub mod removal;
pub mod repair;
pub mod restore;
mod retention;
pub mod run;
pub mod scrub;
pub mod server;
pub mod settle;
pub mod spec;
pub mod status;
pub mod steady;
pub mod template;
mod transfer;
mod trash;
mod triggers;
pub mod turns;
mod usage;
pub mod verify;
mod views;
mod volume;

pub(crate) use blocking::blocking;
pub use config::Config;
pub use error::{Error, Result};
pub use host::Host;
