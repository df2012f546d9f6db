//! The first pass: everything that is not known yet is read and put, while it may go on changing.
//!
//! Whatever goes wrong with a file here is no error: it is not remembered, and the second pass deals with it.

use std::{collections::HashSet, path::PathBuf};

use snap_store::{Draft, Progress, Result, Xattr};

use super::{
    Source, StatCache,
    cache::{Known, Payload},
    inspect::{Held, xattrs_of},
    readers::{Job, Manner, Queue, Reader},
    stat::{InodeId, Kind, Stat},
    trust::{Trust, is_settled, now},
    walk::{Met, Threads, Visitor, walk},
};

/// Does the first pass.
pub(super) fn warm(
    draft: &Draft,
    source: &Source<'_>,
    cache: &mut StatCache,
    progress: &dyn Progress,
) -> Result<()> {
    progress.phase("read");
    cache.begin();
    // Where times prove nothing, everything is read while it stands still; reading it here as well would gain nothing.
    let Some(trust) = Trust::begin(source.folder)? else {
        return Ok(());
    };
    let reader = Reader {
        draft,
        trust: Some(&trust),
        manner: Manner::Lenient,
        progress,
    };
    let ((), read) = reader.run(|queue| {
        let mut warmer = Warmer {
            draft,
            cache,
            linked: HashSet::new(),
            queue,
            progress,
        };
        walk(Threads::at_hand(), source, &mut warmer, progress)
    })?;
    for (_, reading) in read {
        if let Some(known) = reading.known() {
            cache.put(reading.stat.id, known);
        }
    }
    Ok(())
}

/// Finds what is to be read, and reads what is not a file by itself.
struct Warmer<'a, 'q> {
    draft: &'a Draft,
    cache: &'a mut StatCache,
    /// Files with several names that are dealt with.
    linked: HashSet<InodeId>,
    queue: &'a mut Queue<'q>,
    progress: &'a dyn Progress,
}

impl Visitor for Warmer<'_, '_> {
    fn folder(&mut self, met: &Met<'_>, _number: usize) -> Result<()> {
        self.progress.advance(1, 0);
        if self.cache.confirm(self.draft, met.stat)?.is_some() {
            return Ok(());
        }
        let moment = now();
        if let Some(known) = learn(met.stat, || Ok((xattrs_of(met.folder)?, Payload::Nothing)))
            && is_settled(met.stat.changed, moment)
        {
            self.cache.put(met.stat.id, known);
        }
        Ok(())
    }

    fn entry(&mut self, met: &Met<'_>) -> Result<()> {
        self.queue.check()?;
        if met.stat.is_linked() && !self.linked.insert(met.stat.id) {
            return Ok(());
        }
        if self.cache.confirm(self.draft, met.stat)?.is_some() {
            self.progress.advance(1, met.stat.size);
            return Ok(());
        }
        let moment = now();
        let Ok(held) = Held::new(met.folder, met.name) else {
            return Ok(());
        };
        let stat = held.stat;
        if stat.kind == Kind::File {
            let path = met.path();
            return self.queue.give(Job { held, path }).map(drop);
        }
        self.progress.advance(1, 0);
        let read = || {
            let payload = match stat.kind {
                Kind::Symlink => Payload::Symlink(held.target()?),
                _ => Payload::Nothing,
            };
            Ok((held.xattrs()?, payload))
        };
        if let Some(known) = learn(&stat, read)
            && is_settled(stat.changed, moment)
        {
            self.cache.put(stat.id, known);
        }
        Ok(())
    }

    fn mount(&mut self, _met: &Met<'_>, _number: Option<usize>) -> Result<()> {
        Ok(())
    }

    fn excluded(&mut self, _met: &Met<'_>) -> Result<()> {
        Ok(())
    }

    fn vanished(&mut self, _path: PathBuf) {}
}

fn learn(
    stat: &Stat,
    read: impl FnOnce() -> rustix::io::Result<(Box<[Xattr]>, Payload)>,
) -> Option<Known> {
    let (xattrs, payload) = read().ok()?;
    Some(Known::new(stat, xattrs, payload))
}
