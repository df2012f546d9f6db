//! Removing condemned packs: which may go, and the last look at each before it does.

use std::{
    collections::{BTreeSet, HashSet},
    path::Path,
};

use tracing::warn;

use super::{
    Collection, Holder,
    mark::{Newcomers, walk},
};
use crate::{
    error::{Error, Result},
    ids::PackId,
    layout,
    pack::Footer,
    store::SYNC_EACH,
};

/// Packs removed at a time: publishing waits meanwhile.
const GROUP: usize = 32;

impl Collection<'_> {
    /// Removes the condemned packs whose time has come.
    pub(super) fn sweep(&mut self) -> Result<()> {
        self.progress.phase("sweep");
        let mut ready = self.ready();
        if ready.is_empty() {
            return Ok(());
        }
        self.settle_removals()?;
        let Some(needed) = self.needed_by_newcomers()? else {
            return Ok(());
        };
        ready.retain(|pack| !needed.contains(pack));
        self.store.spare(needed.into_iter())?;
        let mut folders = BTreeSet::new();
        let removed = self.remove_all(&ready, &mut folders);
        // What is no longer listed as condemned must be gone for good.
        let synced = self.sync_pack_folders(&folders);
        removed.and(self.store.latch().watch(synced))
    }

    /// A manifest that was gone when it was looked for shall not come back after a power cut, when what it needs is gone: a process
    /// may have been killed before it had synced the removal. What this one removes is retired until it has.
    fn settle_removals(&mut self) -> Result<()> {
        if !self.are_removals_settled {
            let synced = self.store.disk().sync_folder(Path::new(layout::MANIFESTS));
            self.store.latch().watch(synced)?;
            self.are_removals_settled = true;
        }
        Ok(())
    }

    /// Condemned packs whose grace period is over, and that nobody who is still under way was offered.
    fn ready(&self) -> Vec<PackId> {
        let tombstones = self.store.collector().tombstones().clone();
        let ready = tombstones.iter().filter(|(_, tombstone)| {
            self.is_over(tombstone.since) && self.is_unclaimed(Some(tombstone))
        });
        ready.map(|(pack, _)| *pack).collect()
    }

    /// Which condemned packs are needed by what has appeared since the marks were made; `None` when that cannot be told.
    ///
    /// To be asked after [`Collection::ready`]: those it waited for have committed by now, or never will.
    fn needed_by_newcomers(&mut self) -> Result<Option<HashSet<PackId>>> {
        let collector = self.store.collector();
        collector.retired.prune(&collector.leases);
        let mut newcomers = Newcomers::new(self.store, &self.marks);
        let mut damage = Vec::new();
        for id in self.store.manifests()? {
            if self.marked.contains(&id) {
                continue;
            }
            let manifest = match self.store.manifest(&id) {
                Ok(manifest) => manifest,
                Err(Error::NotFound { .. }) => continue,
                Err(error) => {
                    damage.push((Holder::Snapshot(id), error));
                    continue;
                }
            };
            for root in manifest.roots() {
                let walked = walk(self.store, &root.digest, &mut newcomers, self.progress)?;
                damage.extend(walked.unknown.map(|error| (Holder::Snapshot(id), error)));
            }
        }
        for root in self.all_roots()? {
            if self.marked_roots.contains(&root) {
                continue;
            }
            let walked = walk(self.store, &root, &mut newcomers, self.progress)?;
            damage.extend(walked.unknown.map(|error| (Holder::Root(root), error)));
        }
        let is_followed =
            damage.is_empty() && newcomers.missing.is_none() && !newcomers.is_too_much();
        let needed = newcomers.needed;
        for (holder, error) in damage {
            self.note_damage(holder, &error);
        }
        self.note_unreadable();
        let is_known = is_followed && !self.report.is_incomplete;
        Ok(is_known.then_some(needed))
    }

    fn remove_all(&mut self, packs: &[PackId], folders: &mut BTreeSet<u8>) -> Result<()> {
        for group in packs.chunks(GROUP) {
            let mut free = Vec::with_capacity(group.len());
            for pack in group {
                if self.progress.is_cancelled() {
                    return Err(Error::Cancelled);
                }
                if self.kept.contains(pack) {
                    continue;
                }
                match self.is_free(pack)? {
                    true => free.push(*pack),
                    false => {
                        self.kept.insert(*pack);
                    }
                }
            }
            self.remove_group(&free, folders)?;
        }
        Ok(())
    }

    /// True when every chunk the pack's own footer lists is either not needed, or was read whole from a pack that stays.
    fn is_free(&self, pack: &PackId) -> Result<bool> {
        let footer = match Footer::read(&*self.store.disk(), &layout::pack(pack)) {
            Ok(footer) if footer.id == *pack => footer,
            Ok(_) => return Ok(false),
            Err(error) => {
                warn!(%pack, %error, "Pack is condemned and stays, because nobody knows what is in it");
                return Ok(false);
            }
        };
        let index = self.store.index();
        for (digest, _) in &footer.records {
            if self.marks.is_missing(digest) {
                warn!(%pack, chunk = %digest, "Pack is condemned and stays, because it holds a chunk that is missed elsewhere");
                return Ok(false);
            }
            if self.marks.needed(digest)?.is_none() {
                continue;
            }
            let place = index.lookup(digest)?;
            let place = place.filter(|place| !index.is_condemned(&place.pack));
            let is_elsewhere = place.is_some_and(|place| {
                self.written.contains(&place.pack) || self.store.read(digest, &place).is_ok()
            });
            if !is_elsewhere {
                warn!(%pack, chunk = %digest, "Pack is condemned and stays, because it holds the last whole copy of a chunk");
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes packs unless somebody has published them anew, and forgets them before anybody can.
    fn remove_group(&mut self, packs: &[PackId], folders: &mut BTreeSet<u8>) -> Result<()> {
        let _turn = self.store.turn();
        // A removal of a manifest whose sync has failed may be undone by a power cut.
        self.store.check_writable()?;
        let disk = self.store.disk();
        let mut gone = HashSet::new();
        let mut removed = Ok(());
        self.store.collector().whole().clear();
        for pack in packs {
            if !self.store.index().is_condemned(pack) {
                continue;
            }
            removed = disk.remove(&layout::pack(pack));
            if removed.is_err() {
                break;
            }
            self.store.close_pack(pack);
            gone.insert(*pack);
            folders.insert(pack.as_bytes()[0]);
            let bytes = self.tally.file_bytes(pack);
            self.report.removed_packs += 1;
            self.report.freed_bytes += bytes;
            self.progress.advance(1, bytes);
        }
        self.store.index().forget(&gone)?;
        self.store.spare(gone.into_iter())?;
        removed
    }

    fn sync_pack_folders(&self, folders: &BTreeSet<u8>) -> Result<()> {
        let disk = self.store.disk();
        match folders.len() <= SYNC_EACH {
            true => folders
                .iter()
                .try_for_each(|first| disk.sync_folder(&layout::pack_folder(*first))),
            false => disk.sync_all(),
        }
    }
}
