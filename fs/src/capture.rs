//! From a live file system to a tree. What has to stand still for it is read in two passes, so that the pause does not grow with the data:
//!
//! 1. `warm`: while the container runs, put every file's content and remember it by inode and times.
//! 2. `scan`: while it stands still, walk the metadata alone; files that changed since are kept aside (cloned or copied).
//! 3. `build`: after the thaw, put what was kept aside and write the trees, over a base if there is one.
//!
//! What need not stand still is read in one, `read`, which takes the place of the first two.

mod again;
mod base;
mod build;
mod bytes;
mod cache;
mod exclude;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod graft;
mod inspect;
mod merge;
mod overlay;
mod part;
mod readers;
mod scan;
mod scanned;
mod spool;
mod stat;
mod trust;
mod walk;
mod warm;

use std::{os::fd::BorrowedFd, path::PathBuf};

pub use again::Built;
pub use merge::Merged;
use snap_store::{BaseRecord, Draft, LinkTable, Manifest, Meta, Node, Progress, Result, TreeRef};
use walk::Threads;

/// What is walked.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The top folder.
    pub folder: BorrowedFd<'a>,
    /// How it is to be read.
    pub kind: SourceKind,
    /// What is left out.
    pub exclude: &'a Exclude,
}

/// How a folder is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// As it is.
    Plain,
    /// As one layer of an overlay: whiteouts and opaque folders mean something, `trusted.overlay.*` is not content.
    OverlayLayer,
    /// The same of an overlay mounted with `userxattr`, which keeps its marks in `user.overlay.*`.
    UserOverlayLayer,
}

/// What is left out: everything but one path, when only that is wanted, and of what is left glob patterns of paths, relative to the top
/// or to that path.
///
/// They apply to what is walked. In a layer of an overlay a name that matches a pattern counts as deleted, so that no older
/// version of it shows from below; what only the layers below have stays.
#[derive(Clone, Debug, Default)]
pub struct Exclude {
    patterns: Vec<exclude::Pattern>,
    /// The path that alone is wanted, components joined by `/`; empty for everything.
    only: Vec<u8>,
}

/// What is known of files from an earlier pass: inode, times and size to content. Kept between captures of the same source.
#[derive(Debug, Default)]
pub struct StatCache {
    slots: cache::Slots,
    /// The folder it was loaded from.
    spool: Option<PathBuf>,
    /// The file that holds every slot as it is here.
    saved: Option<PathBuf>,
}

/// What a [`StatCache`] leaves to the next capture, on its way to its file.
#[derive(Debug)]
#[must_use]
pub struct SavedStats {
    path: PathBuf,
    /// `None` when the file has them.
    bytes: Option<Vec<u8>>,
}

/// What was found; after a second pass it holds the bytes of changed files.
#[derive(Debug, Default)]
pub struct Scan {
    /// The top first, every other after the one it is in.
    folders: Vec<scanned::ScannedFolder>,
    /// How many groups of names there are that are one inode.
    groups: u32,
    /// Where a second pass kept bytes aside.
    spool: Option<spool::Spool>,
    /// For the cache.
    learnt: Vec<(stat::InodeId, cache::Known)>,
    warnings: scanned::Warnings,
}

/// A tree in a draft, complete.
#[derive(Clone, Debug)]
pub struct CapturedTree {
    /// The root folder's tree.
    pub root: TreeRef,
    /// The root folder's own metadata.
    pub root_meta: Meta,
    /// Hard links.
    pub links: LinkTable,
    /// Sum of the sizes of files.
    pub logical_bytes: u64,
    /// Things left out and why (sockets that vanished, unreadable attributes): for people.
    pub warnings: Vec<String>,
}

/// One node of a tree in a draft, with everything below it.
#[derive(Clone, Debug)]
pub struct Part {
    meta: Meta,
    node: Node,
    links: LinkTable,
    logical_bytes: u64,
    warnings: Vec<String>,
}

/// First pass: puts the content of everything that is not in `cache` already, and fills `cache`.
pub fn warm(
    draft: &Draft,
    source: &Source<'_>,
    cache: &mut StatCache,
    progress: &dyn Progress,
) -> Result<()> {
    warm::warm(draft, source, cache, progress)
}

/// Second pass: metadata of everything; bytes of what `cache` does not vouch for are kept aside.
pub fn scan(source: &Source<'_>, cache: &mut StatCache, progress: &dyn Progress) -> Result<Scan> {
    scan::scan(Threads::at_hand(), source, cache, progress)
}

/// Both passes in one, for what need not stand still: each file is as it was when it was read. What changes each time it is read
/// is kept as it was last, with a warning.
///
/// # Errors
/// The first file that cannot be read.
pub fn read(
    draft: &Draft,
    source: &Source<'_>,
    cache: &mut StatCache,
    progress: &dyn Progress,
) -> Result<Scan> {
    scan::read(Threads::at_hand(), draft, source, cache, progress)
}

/// Writes the trees of `scan`, over `base` when the source is an overlay's layer, and completes `cache`.
pub fn build(
    draft: &Draft,
    scan: Scan,
    base: Option<&BaseRecord>,
    cache: &mut StatCache,
    progress: &dyn Progress,
) -> Result<CapturedTree> {
    build::build(draft, scan, base, cache, progress)
}

/// The same, unless `last` came of the very same and nothing was lost since: then its trees are taken over. Also returns what the next one
/// may be compared with, once the draft is committed; `None` when bytes were kept aside.
pub fn build_after(
    draft: &Draft,
    scan: Scan,
    (base, last): (Option<&BaseRecord>, Option<Built>),
    cache: &mut StatCache,
    progress: &dyn Progress,
) -> Result<(CapturedTree, Option<Built>)> {
    again::build_after(draft, scan, (base, last), cache, progress)
}

/// Puts the tree `graft` at `path` of `tree` (an included bind mount), replacing what is there.
pub fn graft(
    draft: &Draft,
    tree: &CapturedTree,
    path: &[&[u8]],
    graft: &CapturedTree,
) -> Result<CapturedTree> {
    match path.is_empty() {
        true => Ok(graft.clone()),
        false => put(draft, tree, path, &Part::from(graft.clone())),
    }
}

/// Puts `part` at `path` of `tree`, replacing what is there. Folders that are missing on the way are made.
///
/// # Errors
/// `Invalid` when something on the way is no folder, or `path` has no name.
pub fn put(
    draft: &Draft,
    tree: &CapturedTree,
    path: &[&[u8]],
    part: &Part,
) -> Result<CapturedTree> {
    graft::put(draft, tree, path, part)
}

/// What `tree` has at `path`.
///
/// # Errors
/// `NotFound` when it has nothing there.
pub fn part(draft: &Draft, tree: CapturedTree, path: &[&[u8]]) -> Result<Part> {
    part::part(draft, tree, path)
}

/// Puts the changes that lead from `base` to `ours` and those that lead to `theirs` together.
///
/// # Errors
/// When a page cannot be read or written; a conflict is no error.
pub fn merge(
    draft: &Draft,
    base: &Manifest,
    ours: &Manifest,
    theirs: &Manifest,
    progress: &dyn Progress,
) -> Result<Merged> {
    merge::merge(draft, base, ours, theirs, progress)
}

#[cfg(test)]
mod tests;
