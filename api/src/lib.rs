//! The daemon's RPC: what may be asked, what is answered, and how errors travel.
//!
//! ```text
//! snapctl ── Client ──► Unix socket ──► [Snapshotd] in the daemon
//!              │                              │
//!           requests  ◄── one struct a call ──► answers, ErrorReport
//! ```
//!
//! Field names are part of the API: units end the name, times are RFC 3339 in UTC, ids are strings.
//! Every argument is one struct whose later fields have defaults, so that an older client goes on working.

mod auto;
mod client;
mod error;
mod event;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz_targets;
mod health;
mod job;
mod naming;
mod path;
mod repair;
mod request;
mod retention;
mod service;
mod template;
mod trash;
mod upkeep;
mod usage;
mod verdict;
mod view;
mod volume;

pub use auto::*;
pub use client::{Client, ConnectError};
pub use error::{ErrorCode, ErrorReport};
pub use event::*;
pub use health::*;
pub use job::*;
pub use naming::*;
pub use path::WirePath;
pub use repair::*;
pub use request::*;
pub use retention::*;
pub use service::{Answer, Snapshotd, SnapshotdClient, SnapshotdRequest, SnapshotdResponse};
pub use template::*;
pub use trash::*;
pub use upkeep::*;
pub use usage::*;
pub use verdict::*;
pub use view::*;
pub use volume::*;

/// Major version of the protocol; a client and a daemon that differ in it refuse each other.
pub const PROTOCOL_MAJOR: u32 = 1;
/// Minor version: methods and fields are only ever added within a major version. A daemon ignores fields it does not know, so a client
/// asks nothing of it that came with a later one. 1: versions, immutable tags, pins, filters and orders of lists. 2: events. 3: memory,
/// `check`. 4: rules for what is kept, times without use. 5: the trash, usage,
/// automatic snapshots. 6: forecasts of a create, hooks, connections that go on, what memory holds. 7: templates, what jobs print,
/// another command for what is restored. 8: volumes, and snapshots mounted into restored containers. 9: folders of
/// containers, what is put into a version, snapshots of containers that have ended. 10: the keys of memory. 11: what
/// mounts read ahead.
pub const PROTOCOL_MINOR: u32 = 11;
/// Largest frame either side accepts, in bytes: a full page of listings is far below it.
pub const MAX_FRAME_BYTES: usize = 4 << 20;
/// Most items one page of a listing carries.
pub const MAX_PAGE_ITEMS: u32 = 1000;
/// Longest a `job_wait` or `events` call is held open, in milliseconds.
pub const MAX_WAIT_MS: u64 = 30_000;
/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/snapshotd/snapshotd.sock";
