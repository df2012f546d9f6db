//! The metadata of everything, and the bytes of what the cache does not vouch for: kept aside while the source stands still, or read
//! at once where nothing has to.
//!
//! What is unchanged costs one `statx`, and a listing for each folder.

use std::{collections::HashMap, path::PathBuf};

use rustix::io::Errno;
use snap_store::{
    Content, Draft, EntryName, Error, Meta, Node, Progress, Result, Timestamp, Xattr,
};

use super::{
    Scan, Source, SourceKind, StatCache,
    bytes::{Bytes, fill_in},
    cache::{Known, Payload},
    inspect::{Held, xattrs_of},
    overlay::{Marks, is_whiteout, read_marks},
    readers::{Manner, Reader, Reading},
    scanned::{ScannedEntry, ScannedFolder, ScannedNode, Seen},
    spool::Spool,
    stat::{InodeId, Kind, Stat},
    trust::{Trust, is_settled, is_trusted, now},
    walk::{Met, Threads, Visitor, walk},
};

/// Does the second pass.
pub(super) fn scan(
    threads: Threads,
    source: &Source<'_>,
    cache: &mut StatCache,
    progress: &dyn Progress,
) -> Result<Scan> {
    progress.phase("scan");
    let spool = Spool::new(source.folder, cache.spool_folder());
    let mut scanner = Scanner {
        kind: source.kind,
        cache,
        trusts: is_trusted(source.folder)?,
        linked: HashMap::new(),
        bytes: Bytes::Aside(spool),
        progress,
        scan: Scan::default(),
    };
    walk(threads, source, &mut scanner, progress)?;
    if let Bytes::Aside(spool) = scanner.bytes {
        scanner.scan.spool = Some(spool);
    }
    Ok(scanner.scan)
}

/// Does all of it in one pass.
pub(super) fn read(
    threads: Threads,
    draft: &Draft,
    source: &Source<'_>,
    cache: &mut StatCache,
    progress: &dyn Progress,
) -> Result<Scan> {
    progress.phase("read");
    cache.begin();
    let trust = Trust::begin(source.folder)?;
    let reader = Reader {
        draft,
        trust: trust.as_ref(),
        manner: Manner::Strict,
        progress,
    };
    let (mut scan, read) = reader.run(|queue| {
        let mut scanner = Scanner {
            kind: source.kind,
            cache: &mut *cache,
            trusts: trust.is_some(),
            linked: HashMap::new(),
            bytes: Bytes::Now { draft, queue },
            progress,
            scan: Scan::default(),
        };
        walk(threads, source, &mut scanner, progress)?;
        Ok(scanner.scan)
    })?;
    if trust.is_some() {
        let known = |(_, reading): &(_, Reading)| Some((reading.stat.id, reading.known()?));
        scan.learnt.extend(read.iter().filter_map(known));
    }
    fill_in(&mut scan.folders, source.kind, read, &mut scan.warnings);
    Ok(scan)
}

struct Scanner<'a, 'q> {
    kind: SourceKind,
    cache: &'a mut StatCache,
    /// False where times prove nothing.
    trusts: bool,
    /// What was made of inodes with several names.
    linked: HashMap<InodeId, Linked>,
    bytes: Bytes<'a, 'q>,
    progress: &'a dyn Progress,
    scan: Scan,
}

struct Linked {
    group: u32,
    node: ScannedNode,
    xattrs: Vec<Xattr>,
}

impl Visitor for Scanner<'_, '_> {
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
        let seen = match self.recall(met.stat)? {
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

impl Scanner<'_, '_> {
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
        if let Some(known) = self.known(met.stat)? {
            return Ok(known.xattrs.clone());
        }
        let moment = now();
        let xattrs = xattrs_of(met.folder)
            .map_err(|error| Error::io("read the attributes of", met.path())(error))?;
        self.learn(met.stat, moment, &xattrs, Payload::Nothing);
        Ok(xattrs)
    }

    fn known(&mut self, stat: &Stat) -> Result<Option<&Known>> {
        match &self.bytes {
            _ if !self.trusts => Ok(None),
            Bytes::Aside(_) => Ok(self.cache.get_confirmed(stat)),
            Bytes::Now { draft, .. } => self.cache.confirm(draft, stat),
        }
    }

    /// What the cache has of an inode.
    fn recall(&mut self, stat: &Stat) -> Result<Option<Seen>> {
        let Some(known) = self.known(stat)? else {
            return Ok(None);
        };
        let node = match &known.payload {
            Payload::Nothing => match special_node(stat) {
                Some(node) => ScannedNode::Ready(node),
                None => return Ok(None),
            },
            Payload::File(content) => file_node(stat, *content),
            Payload::Symlink(target) => ScannedNode::Ready(Node::Symlink(target.clone())),
        };
        Ok(Some(Seen {
            stat: *stat,
            xattrs: known.xattrs.clone(),
            node,
        }))
    }

    /// Reads what there is to an inode that is not a folder.
    fn look(&mut self, met: &Met<'_>) -> Result<Seen> {
        let moment = now();
        let held = Held::new(met.folder, met.name)
            .map_err(|error| Error::io("open", met.path())(error))?;
        if held.stat.kind == Kind::File {
            let warnings = &mut self.scan.warnings;
            let seen = self.bytes.take(self.kind, met, held, warnings)?;
            if let ScannedNode::Ready(_) = seen.node {
                let empty = Payload::File(Content::Hole);
                self.learn(&seen.stat, moment, &seen.xattrs, empty);
            }
            return Ok(seen);
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

/// The node of a file with this content.
pub(super) fn file_node(stat: &Stat, content: Content) -> ScannedNode {
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
