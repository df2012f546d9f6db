//! The second pass: the metadata of everything, and the bytes of what the cache does not vouch for.
//!
//! What is unchanged costs one `statx`, and a listing for each folder.

use std::{
    collections::HashMap,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use rustix::io::Errno;
use snap_store::{Content, EntryName, Error, Meta, Node, Progress, Result, Timestamp, Xattr};

use super::{
    Scan, Source, SourceKind, StatCache,
    cache::{Known, Payload},
    inspect::{Held, xattrs_of},
    overlay::{Marks, is_whiteout, read_marks},
    spool::Spool,
    stat::{InodeId, Kind, Stat},
    trust::{is_settled, is_trusted, now},
    walk::{Met, Visitor, walk},
};

/// How often a file that changes while it is kept is read again. A source that stands still needs it once.
const ATTEMPTS: usize = 3;

/// Warnings that are told one by one.
const MAX_WARNINGS: usize = 100;

/// A folder that was met; its number is its place in [`Scan`].
#[derive(Debug)]
pub(super) struct ScannedFolder {
    pub(super) meta: Meta,
    /// Hides what the layers below have in it.
    pub(super) is_opaque: bool,
    holds_file_whiteouts: bool,
    pub(super) entries: Vec<ScannedEntry>,
}

/// A name that was met.
#[derive(Debug)]
pub(super) struct ScannedEntry {
    pub(super) name: EntryName,
    /// Of no meaning for folders, which have their own, and for whiteouts.
    pub(super) meta: Meta,
    pub(super) node: ScannedNode,
    /// Number of the group of names that are one inode.
    pub(super) group: Option<u32>,
}

/// What is behind a name that was met.
#[derive(Clone, Debug)]
pub(super) enum ScannedNode {
    /// Complete.
    Ready(Node),
    /// A file whose bytes are kept aside.
    Kept {
        /// Their number in the spool.
        number: usize,
        /// True when the file has several names.
        linked: bool,
    },
    /// The folder of this number.
    Folder(usize),
    /// A deleted name.
    Whiteout,
}

/// Warnings for people, not more of them than can be read.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    told: Vec<String>,
    more: usize,
}

impl Warnings {
    pub(super) fn push(&mut self, path: &Path, what: &str) {
        if self.told.len() < MAX_WARNINGS {
            self.told.push(format!("{}: {what}", path.display()));
        } else {
            self.more += 1;
        }
    }

    pub(super) fn into_told(mut self) -> Vec<String> {
        if self.more > 0 {
            self.told.push(format!("and {} more", self.more));
        }
        self.told
    }
}

/// Does the second pass.
pub(super) fn scan(
    source: &Source<'_>,
    cache: &StatCache,
    progress: &dyn Progress,
) -> Result<Scan> {
    progress.phase("scan");
    let mut scanner = Scanner {
        kind: source.kind,
        cache,
        trusts: is_trusted(source.folder)?,
        linked: HashMap::new(),
        progress,
        scan: Scan {
            folders: Vec::new(),
            groups: 0,
            spool: Spool::new(source.folder, cache.spool_folder()),
            learnt: Vec::new(),
            warnings: Warnings::default(),
        },
    };
    walk(source, &mut scanner, progress)?;
    Ok(scanner.scan)
}

struct Scanner<'a> {
    kind: SourceKind,
    cache: &'a StatCache,
    /// False where times prove nothing.
    trusts: bool,
    /// What was made of inodes with several names.
    linked: HashMap<InodeId, Linked>,
    progress: &'a dyn Progress,
    scan: Scan,
}

struct Linked {
    group: u32,
    node: ScannedNode,
    xattrs: Vec<Xattr>,
}

/// What was read of an inode.
struct Seen {
    stat: Stat,
    xattrs: Box<[Xattr]>,
    node: ScannedNode,
}

impl Visitor for Scanner<'_> {
    fn folder(&mut self, met: &Met<'_>, number: usize) -> Result<()> {
        let raw = self.folder_xattrs(met)?;
        let (marks, xattrs) = read_marks(self.kind, &raw);
        refuse_unsupported(&marks, met)?;
        self.push_folder(met, number, xattrs, &marks)
    }

    fn entry(&mut self, met: &Met<'_>) -> Result<()> {
        self.progress.advance(1, 0);
        if is_whiteout(self.kind, met.stat) {
            return self.push(met, Meta::default(), ScannedNode::Whiteout, None);
        }
        if let Some(linked) = self.linked.get(&met.stat.id) {
            let meta = met.stat.meta(linked.xattrs.clone());
            let (node, group) = (linked.node.clone(), linked.group);
            return self.push(met, meta, node, Some(group));
        }
        let seen = match self.recall(met.stat) {
            Some(seen) => seen,
            None => match self.look(met) {
                Ok(seen) => seen,
                Err(error) if is_gone(&error) => {
                    self.vanished(met.path());
                    return Ok(());
                }
                Err(error) => return Err(error),
            },
        };
        let (marks, xattrs) = read_marks(self.kind, &seen.xattrs);
        refuse_unsupported(&marks, met)?;
        if marks.is_file_whiteout && self.scan.folders[met.parent].holds_file_whiteouts {
            return self.push(met, Meta::default(), ScannedNode::Whiteout, None);
        }
        let group = self.link(&seen, &xattrs);
        self.push(met, seen.stat.meta(xattrs), seen.node, group)
    }

    fn mount(&mut self, met: &Met<'_>, number: Option<usize>) -> Result<()> {
        let what = "something is mounted here and was left out";
        self.scan.warnings.push(&met.path(), what);
        if let Some(number) = number {
            return self.push_folder(met, number, Vec::new(), &Marks::default());
        }
        // Only files and what stands for devices are mounted on what is no folder.
        let node = special_node(met.stat).unwrap_or_else(empty_file);
        let meta = met.stat.meta(Vec::new());
        self.push(met, meta, ScannedNode::Ready(node), None)
    }

    fn excluded(&mut self, met: &Met<'_>) -> Result<()> {
        match self.kind {
            SourceKind::Plain => Ok(()),
            // What the layers below have under the name is an older version of what is left out.
            SourceKind::OverlayLayer | SourceKind::UserOverlayLayer => {
                self.push(met, Meta::default(), ScannedNode::Whiteout, None)
            }
        }
    }

    fn vanished(&mut self, path: PathBuf) {
        let what = "vanished while it was captured";
        self.scan.warnings.push(&path, what);
    }
}

impl Scanner<'_> {
    fn push(
        &mut self,
        met: &Met<'_>,
        meta: Meta,
        node: ScannedNode,
        group: Option<u32>,
    ) -> Result<()> {
        let entry = ScannedEntry {
            name: EntryName::new(met.name)?,
            meta,
            node,
            group,
        };
        self.scan.folders[met.parent].entries.push(entry);
        Ok(())
    }

    fn push_folder(
        &mut self,
        met: &Met<'_>,
        number: usize,
        xattrs: Vec<Xattr>,
        marks: &Marks,
    ) -> Result<()> {
        self.progress.advance(1, 0);
        self.scan.folders.push(ScannedFolder {
            meta: met.stat.meta(xattrs),
            is_opaque: marks.is_opaque,
            holds_file_whiteouts: marks.holds_file_whiteouts,
            entries: Vec::new(),
        });
        if met.name.is_empty() {
            return Ok(());
        }
        self.push(met, Meta::default(), ScannedNode::Folder(number), None)
    }

    fn folder_xattrs(&mut self, met: &Met<'_>) -> Result<Box<[Xattr]>> {
        if let Some(known) = self.known(met.stat) {
            return Ok(known.xattrs.clone());
        }
        let moment = now();
        let xattrs = xattrs_of(met.folder)
            .map_err(|error| Error::io("read the attributes of", met.path())(error))?;
        self.learn(met.stat, moment, &xattrs, Payload::Nothing);
        Ok(xattrs)
    }

    fn known(&self, stat: &Stat) -> Option<&Known> {
        self.trusts
            .then(|| self.cache.get_confirmed(stat))
            .flatten()
    }

    /// What the cache has of an inode.
    fn recall(&self, stat: &Stat) -> Option<Seen> {
        let known = self.known(stat)?;
        let node = match &known.payload {
            Payload::Nothing => ScannedNode::Ready(special_node(stat)?),
            Payload::File(content) => file_node(stat, *content),
            Payload::Symlink(target) => ScannedNode::Ready(Node::Symlink(target.clone())),
        };
        Some(Seen {
            stat: *stat,
            xattrs: known.xattrs.clone(),
            node,
        })
    }

    /// Reads what there is to an inode that is not a folder.
    fn look(&mut self, met: &Met<'_>) -> Result<Seen> {
        let moment = now();
        let held = Held::new(met.folder, met.name)
            .map_err(|error| Error::io("open", met.path())(error))?;
        if held.stat.kind == Kind::File {
            return self.look_at_file(met, &held, moment);
        }
        let xattrs = held
            .xattrs()
            .map_err(|error| Error::io("read the attributes of", met.path())(error))?;
        let (node, payload) = match special_node(&held.stat) {
            Some(node) => (node, Payload::Nothing),
            // A folder by now cannot be read as a link: it counts as vanished.
            None => {
                let target = held
                    .target()
                    .map_err(|error| Error::io("read the link", met.path())(error))?;
                (Node::Symlink(target.clone()), Payload::Symlink(target))
            }
        };
        self.learn(&held.stat, moment, &xattrs, payload);
        Ok(Seen {
            stat: held.stat,
            xattrs,
            node: ScannedNode::Ready(node),
        })
    }

    /// Keeps a file's bytes aside.
    fn look_at_file(&mut self, met: &Met<'_>, held: &Held, moment: Timestamp) -> Result<Seen> {
        let io = |op| move |error: Errno| Error::io(op, met.path())(error);
        let file = held.open().map_err(io("open"))?;
        let mut stat = Stat::of_fd(file.as_fd()).map_err(io("inspect"))?;
        if stat.size == 0 {
            let xattrs = xattrs_of(file.as_fd()).map_err(io("read the attributes of"))?;
            self.learn(&stat, moment, &xattrs, Payload::File(Content::Hole));
            let node = file_node(&stat, Content::Hole);
            return Ok(Seen { stat, xattrs, node });
        }
        for attempt in 1.. {
            let xattrs = xattrs_of(file.as_fd()).map_err(io("read the attributes of"))?;
            let (number, is_whole) = self.scan.spool.keep(&file, &stat, &met.path())?;
            let after = Stat::of_fd(file.as_fd()).map_err(io("inspect"))?;
            if is_whole && after.is_unchanged(&stat) {
                let linked = stat.is_linked();
                let node = ScannedNode::Kept { number, linked };
                return Ok(Seen { stat, xattrs, node });
            }
            if attempt == ATTEMPTS {
                let what = "changed while it was read; parts of it may be of different times";
                self.scan.warnings.push(&met.path(), what);
                let linked = stat.is_linked();
                let node = ScannedNode::Kept { number, linked };
                return Ok(Seen { stat, xattrs, node });
            }
            self.scan.spool.forget_last()?;
            stat = after;
        }
        unreachable!("the last attempt returns")
    }

    /// Remembers for the next capture what did not have to be kept aside.
    ///
    /// Files are not remembered: those that were kept may have dirty pages mapped, which a store reaches unnoticed.
    fn learn(&mut self, stat: &Stat, moment: Timestamp, xattrs: &[Xattr], payload: Payload) {
        if self.trusts && is_settled(stat.changed, moment) {
            let known = Known::new(stat, xattrs.into(), payload);
            self.scan.learnt.push((stat.id, known));
        }
    }

    /// Begins a group when other names of the inode may follow.
    fn link(&mut self, seen: &Seen, xattrs: &[Xattr]) -> Option<u32> {
        if !seen.stat.is_linked() {
            return None;
        }
        let group = self.scan.groups;
        self.scan.groups += 1;
        let linked = Linked {
            group,
            node: seen.node.clone(),
            xattrs: xattrs.to_vec(),
        };
        self.linked.insert(seen.stat.id, linked);
        Some(group)
    }
}

fn refuse_unsupported(marks: &Marks, met: &Met<'_>) -> Result<()> {
    let Some(option) = marks.unsupported else {
        return Ok(());
    };
    Err(Error::Invalid {
        what: "overlay layer",
        why: format!(
            "{} was written with the option {option} of overlayfs, which is not supported: mount without it",
            met.path().display()
        ),
    })
}

fn is_gone(error: &Error) -> bool {
    let Error::Io { source, .. } = error else {
        return false;
    };
    // Reading anything but a link as a link is `INVAL`.
    let gone = [
        Errno::NOENT,
        Errno::STALE,
        Errno::XDEV,
        Errno::LOOP,
        Errno::INVAL,
    ];
    Errno::from_io_error(source).is_some_and(|errno| gone.contains(&errno))
}

fn file_node(stat: &Stat, content: Content) -> ScannedNode {
    ScannedNode::Ready(Node::File {
        size: stat.size,
        content,
        linked: stat.is_linked(),
    })
}

fn empty_file() -> Node {
    Node::File {
        size: 0,
        content: Content::Hole,
        linked: false,
    }
}

/// The node of an inode whose metadata is all there is to it.
fn special_node(stat: &Stat) -> Option<Node> {
    match stat.kind {
        Kind::CharDevice => Some(Node::CharDevice(stat.device)),
        Kind::BlockDevice => Some(Node::BlockDevice(stat.device)),
        Kind::Fifo => Some(Node::Fifo),
        Kind::Socket => Some(Node::Socket),
        Kind::File | Kind::Symlink | Kind::Directory => None,
    }
}
