//! Everything at rest: chunks, packs, index, trees, manifests, the catalogue.
//!
//! ```text
//! Draft::put ─► cut ─► hash ─► known? ─► compress ─► pack ─┐
//! TreeWriter ─► tree pages ─► put                          ├─ commit: sync, rename, index, manifest
//! Manifest  ───────────────────────────────────────────────┘
//! Draft::put_sealed_pages ─► cut ─► compress ─► encrypt ─► hash ─► known? ─► pack
//! Store::get ◄─ verify ◄─ decompress ◄─ pack ◄─ index
//! Store::collect ─► mark ─► condemn ─► sweep, rewrite
//! ```
//!
//! The format is written once, in docs/format.md. Everything here is synchronous, and what has been
//! reported as committed survives a power cut.

mod bytes;
pub mod calendar;
mod catalogue;
mod collect;
mod disk;
mod draft;
mod entry;
mod error;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz_targets;
#[cfg(test)]
mod golden;
mod ids;
mod index;
mod layout;
mod links;
mod list;
mod manifest;
mod names;
mod naming;
mod pack;
mod page;
mod progress;
mod repair;
mod retention;
mod seal;
mod store;
mod trace;
mod tree;

pub use catalogue::{
    AttachedRecord, Attaching, AttachingWhat, Attachment, AutoEnd, AutoRecord, AutoSource,
    BaseLayer, BaseRecord, Begun, Catalogue, ContainerRecord, EndCause, ExpiryCause, Force, Held,
    Hold, MemoryMark, MountRecord, Move, MoveCause, MoveEnd, NewVolumeVersion, Obstacle,
    PolicyRecord, PutBack, RememberedBase, Removal, Restores, Rollback, RollbackTo, STEP_LABEL,
    SnapshotRecord, SnapshotState, Stay, TEMPLATE_LABEL, TemplateRecord, Thinning, TrashCause,
    TrashRecord, TriggerRecord, Undeleted, Undeletion, VOLUME_LABEL, VOLUME_VERSION_LABEL, Verdict,
    VersionRecord, VolumeRecord,
};
pub use collect::{
    Amount, CollectOptions, CollectReport, Damage, GroupUsage, Holder, Lease, Retiring, Roots,
    Usage,
};
pub use draft::{Draft, DraftStats};
pub use entry::{Content, DeviceNumber, Entry, EntryName, Meta, Node, Timestamp, TreeRef, Xattr};
pub use error::{Error, Result};
pub use ids::{Digest, KeyId, PackId, SnapshotId};
pub use links::{LinkGroup, LinkTable};
pub use list::{ContentReader, ContentVisitor};
pub use manifest::{
    ContainerConfig, HostFacts, MAX_VERSION, Manifest, Memory, MemoryFacts, MemoryImages, Origin,
};
pub use names::{Namespace, Reference, SnapshotName};
pub use naming::NamingError;
pub use page::{ChunkBytes, PageSource};
pub use progress::{Progress, Silent};
pub use repair::{ChunkKind, Flaw, PackFlaw, Salvage, Survey, TakeChunk, Wanted, recut};
pub use retention::{Dated, KeepRule, KeepRules};
pub use seal::{ContentSource, KeyFolder, Seal, SealKey};
pub use store::{Access, ForesightStats, Store, StoreStats};
pub use trace::{Expected, RecordLimits, Recorder, Seen, Trace};
pub use tree::{Leaf, Located, TreeReader, TreeWriter};
