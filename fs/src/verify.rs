//! Checking what snapshots need; goes on after damage and says which files are hit, and where.
//!
//! Packs first, snapshots second: the packs are read in their order, each chunk once, and then every snapshot is walked with
//! what is known of its chunks. A folder or a file that is sound is passed over whole where it is met again, here or in
//! the next snapshot; one that is not is walked each time, so that each of its names is reported.

#[cfg(test)]
mod tests;
mod walk;

use std::{collections::HashSet, ops::Range};

use snap_store::{
    Digest, Error, Flaw, Manifest, PackId, Progress, Result, SnapshotId, Store, Survey, TreeRef,
    Wanted,
};

/// Sound pages that are remembered, in some 100 MiB; what is beyond them is walked again where it is met again.
const MAX_SOUND: usize = 2 << 20;

/// Stands before the paths of images, which are no files of the snapshot.
const MEMORY: &[u8] = b"(memory)";

/// One damaged place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Components of the path of the file or folder.
    pub path: Vec<Vec<u8>>,
    /// The bytes of the file that cannot be had; `None` for a folder, which cannot be listed as a whole.
    pub range: Option<Range<u64>>,
    /// The length of the file, 0 for a folder.
    pub file_bytes: u64,
    /// The chunk, when it is one.
    pub digest: Option<Digest>,
    /// The pack that should hold it, when one is known.
    pub pack: Option<PackId>,
    /// What is wrong.
    pub problem: String,
}

/// How closely the packs are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// From outside: they are there, begin and end as packs, and are as long as the chunks in them say.
    Structure,
    /// Every byte.
    Bytes,
}

/// What of all that is stored is looked at.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// Every pack, whoever needs what is in it.
    Everything,
    /// What these snapshots need.
    Snapshots(&'a [SnapshotId]),
}

/// Says what is wrong with a chunk, whose length may be known.
pub type Look<'a> = dyn FnMut(&Digest, Option<u64>) -> Result<Option<Flaw>> + 'a;

/// Sound pages: by digest, and by the length or number of nodes that is said of them.
type Sound = HashSet<(Digest, u64)>;

/// Looks at the packs.
pub fn survey(
    store: &Store,
    scope: Scope<'_>,
    depth: Depth,
    progress: &dyn Progress,
) -> Result<Survey> {
    let mut survey = Survey::new(store.clone());
    let (packs, wanted) = match scope {
        Scope::Everything => (store.packs()?, None),
        Scope::Snapshots(ids) => {
            let mut wanted = wanted(store, ids, progress)?;
            (wanted.packs(), Some(wanted))
        }
    };
    survey.look(&packs, progress)?;
    if depth == Depth::Bytes {
        if wanted.is_none() {
            progress.expect_bytes(store.stats()?.stored_bytes);
        }
        survey.read(&packs, wanted.as_ref(), progress)?;
    }
    Ok(survey)
}

/// How long chunks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lengths {
    /// As long as the part of the file that they are.
    OfFiles,
    /// They are sealed: how long what is within is said to be is known to who has the key, whom this does not ask for. That each is the
    /// envelope it was is seen by its digest.
    OfEnvelopes,
}

/// A walk through snapshots, one after the other: each is asked for everything it needs, and what is sound in one is passed over in
/// the next.
pub struct Inspection<'a> {
    store: &'a Store,
    look: &'a mut Look<'a>,
    sound: Sound,
    progress: &'a dyn Progress,
}

impl<'a> Inspection<'a> {
    /// No snapshot walked yet; `look` answers alike as long as this lives.
    pub fn new(store: &'a Store, look: &'a mut Look<'a>, progress: &'a dyn Progress) -> Self {
        Self {
            store,
            look,
            sound: Sound::new(),
            progress,
        }
    }

    /// Walks a snapshot and tells `each` of every damaged place.
    pub fn snapshot(
        &mut self,
        manifest: &Manifest,
        each: &mut dyn FnMut(Damaged) -> Result<()>,
    ) -> Result<()> {
        self.tree(manifest.root, each)?;
        let Some(images) = manifest.memory_images() else {
            return Ok(());
        };
        let lengths = match images.seal {
            None => Lengths::OfFiles,
            Some(_) => Lengths::OfEnvelopes,
        };
        let each = &mut |damaged: Damaged| {
            let mut path = vec![MEMORY.to_vec()];
            path.extend(damaged.path);
            each(Damaged { path, ..damaged })
        };
        walk::Walk::new(self, images.root, each).run(images.root, lengths)
    }

    /// The same of a tree that is no snapshot's.
    pub fn tree(
        &mut self,
        root: TreeRef,
        each: &mut dyn FnMut(Damaged) -> Result<()>,
    ) -> Result<()> {
        walk::Walk::new(self, root, each).run(root, Lengths::OfFiles)
    }
}

/// Reads everything that one snapshot needs, and returns the first damaged places.
pub fn verify(store: &Store, manifest: &Manifest, progress: &dyn Progress) -> Result<Vec<Damaged>> {
    let mut wanted = Wanted::new(store.clone());
    want(store, &mut wanted, progress, &mut |inspection| {
        inspection.snapshot(manifest, &mut |_| Ok(()))
    })?;
    let packs = wanted.packs();
    let mut survey = Survey::new(store.clone());
    survey.read(&packs, Some(&wanted), progress)?;
    let mut damaged = Vec::new();
    let look = &mut |digest: &Digest, raw_bytes| survey.flaw(digest, raw_bytes);
    Inspection::new(store, look, progress).snapshot(manifest, &mut |place| {
        damaged.push(place);
        Ok(())
    })?;
    Ok(damaged)
}

/// Where all that these snapshots need lies; what cannot be read of them is left to the walk that reports.
fn wanted(store: &Store, ids: &[SnapshotId], progress: &dyn Progress) -> Result<Wanted> {
    let mut wanted = Wanted::new(store.clone());
    want(store, &mut wanted, progress, &mut |inspection| {
        for id in ids {
            match store.manifest(id) {
                Ok(manifest) => inspection.snapshot(&manifest, &mut |_| Ok(()))?,
                Err(
                    Error::NotFound { .. } | Error::Corrupt { .. } | Error::Incompatible { .. },
                ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })?;
    Ok(wanted)
}

/// Adds everything to `wanted` that is met while snapshots are walked.
fn want(
    store: &Store,
    wanted: &mut Wanted,
    progress: &dyn Progress,
    walk: &mut dyn FnMut(&mut Inspection<'_>) -> Result<()>,
) -> Result<()> {
    let look = &mut |digest: &Digest, _| -> Result<Option<Flaw>> {
        wanted.add(digest)?;
        Ok(None)
    };
    walk(&mut Inspection::new(store, look, progress))
}
