//! Where the bytes of files go that the cache does not know.

use std::os::fd::AsFd;

use rustix::io::Errno;
use snap_store::{Content, Draft, Error, Node, Result};

use super::{
    SourceKind,
    inspect::{Held, xattrs_of},
    overlay::read_marks,
    readers::{Job, Queue, Reading},
    scan::file_node,
    scanned::{ScannedFolder, ScannedNode, Seen, Warnings},
    spool::Spool,
    stat::Stat,
    walk::Met,
};

/// How often a file that changes while it is kept is read again. A source that stands still needs it once.
const ATTEMPTS: usize = 3;

/// What is said of a file that changed each time.
const CHANGED: &str = "changed while it was read; parts of it may be of different times";

/// Where they go.
pub(super) enum Bytes<'a, 'q> {
    /// Aside, until the source need not stand still any more.
    Aside(Spool),
    /// Into the draft, by readers.
    Now {
        draft: &'a Draft,
        queue: &'a mut Queue<'q>,
    },
}

impl Bytes<'_, '_> {
    /// Takes a regular file on.
    pub(super) fn take(
        &mut self,
        kind: SourceKind,
        met: &Met<'_>,
        held: Held,
        warnings: &mut Warnings,
    ) -> Result<Seen> {
        match self {
            Self::Aside(spool) => keep(spool, met, &held, warnings),
            Self::Now { queue, .. } => give_away(queue, kind, met, held),
        }
    }
}

/// Keeps a file's bytes aside.
fn keep(spool: &mut Spool, met: &Met<'_>, held: &Held, warnings: &mut Warnings) -> Result<Seen> {
    let io = |op| move |error: Errno| Error::io(op, met.path())(error);
    let file = held.open().map_err(io("open"))?;
    let mut stat = Stat::of_fd(file.as_fd()).map_err(io("inspect"))?;
    if stat.size == 0 {
        let xattrs = xattrs_of(file.as_fd()).map_err(io("read the attributes of"))?;
        let node = file_node(&stat, Content::Hole);
        return Ok(Seen { stat, xattrs, node });
    }
    for attempt in 1.. {
        let xattrs = xattrs_of(file.as_fd()).map_err(io("read the attributes of"))?;
        let (number, is_whole) = spool.keep(&file, &stat, &met.path())?;
        let after = Stat::of_fd(file.as_fd()).map_err(io("inspect"))?;
        let is_steady = is_whole && after.is_unchanged(&stat);
        if is_steady || attempt == ATTEMPTS {
            if !is_steady {
                warnings.push(&met.path(), CHANGED);
            }
            let linked = stat.is_linked();
            let node = ScannedNode::Kept { number, linked };
            return Ok(Seen { stat, xattrs, node });
        }
        spool.forget_last()?;
        stat = after;
    }
    unreachable!("the last attempt returns")
}

fn give_away(queue: &mut Queue<'_>, kind: SourceKind, met: &Met<'_>, held: Held) -> Result<Seen> {
    let stat = held.stat;
    // Whoever reads the file reads its attributes; here they matter for the marks that may be among them.
    let xattrs = match kind {
        SourceKind::Plain => Box::default(),
        SourceKind::OverlayLayer | SourceKind::UserOverlayLayer => held
            .xattrs()
            .map_err(|error| Error::io("read the attributes of", met.path())(error))?,
    };
    let path = met.path();
    let number = queue.give(Job { held, path })?;
    let linked = stat.is_linked();
    let node = ScannedNode::Kept { number, linked };
    Ok(Seen { stat, xattrs, node })
}

/// Fills in what was given away, with the metadata it had when it was read.
pub(super) fn fill_in(
    folders: &mut [ScannedFolder],
    kind: SourceKind,
    read: Vec<(usize, Reading)>,
    warnings: &mut Warnings,
) {
    let mut readings: Vec<_> = read.iter().map(|_| None).collect();
    for (number, reading) in read {
        if let Some(path) = &reading.unsteady {
            warnings.push(path, CHANGED);
        }
        readings[number] = Some(reading);
    }
    let entries = folders.iter_mut().flat_map(|folder| &mut folder.entries);
    for entry in entries {
        if let ScannedNode::Kept { number, linked } = entry.node
            && let Some(reading) = &readings[number]
        {
            let (_, xattrs) = read_marks(kind, &reading.xattrs);
            entry.meta = reading.stat.meta(xattrs);
            entry.node = ScannedNode::Ready(Node::File {
                size: reading.size,
                content: reading.content,
                linked,
            });
        }
    }
}
