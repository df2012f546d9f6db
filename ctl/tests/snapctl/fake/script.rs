//! What the fake daemon is told to answer.

use std::collections::VecDeque;

use snap_api::{
    Blocker, Check, DiffEntry, ErrorReport, EventView, JobView, MountUpgrade, SnapshotView,
    TreeEntry, VersionView,
};

/// What the fake daemon answers.
#[derive(Default)]
pub(crate) struct Script {
    /// Answers to `job_wait`, in order; after the last one the job runs until it is cancelled.
    pub(crate) waits: VecDeque<JobView>,
    /// Cancelling does nothing.
    pub(crate) ignores_cancel: bool,
    /// The error every call but hello answers with.
    pub(crate) refusal: Option<ErrorReport>,
    /// The error hello answers with.
    pub(crate) hello_refusal: Option<ErrorReport>,
    /// The minor version of its protocol; the client's when absent.
    pub(crate) minor: Option<u32>,
    /// Versions of a name, given out two a page.
    pub(crate) versions: Vec<VersionView>,
    /// Snapshots, given out two a page.
    pub(crate) snapshots: Vec<SnapshotView>,
    /// Entries of the tree, given out two a page.
    pub(crate) entries: Vec<TreeEntry>,
    /// What has happened, given out two at a time.
    pub(crate) events: Vec<EventView>,
    /// Differences.
    pub(crate) differences: Vec<DiffEntry>,
    /// What becomes of mount servers that are to be replaced.
    pub(crate) upgrades: Vec<MountUpgrade>,
    /// What stands in the way of memory.
    pub(crate) blockers: Vec<Blocker>,
    /// What doctor finds.
    pub(crate) checks: Vec<Check>,
}
