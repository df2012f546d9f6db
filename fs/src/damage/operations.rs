//! Everything that is done with a store, done with a damaged one.

use std::{fs, time::Duration};

use snap_store::{
    Access, CollectOptions, Error, LinkTable, Manifest, Salvage, Silent, SnapshotId, Store,
};

use super::{
    ground::{Case, Ground, tree},
    reading::{self, Reading, assert_told},
};
use crate::{
    sample::{Tree, commit},
    verify::{Damaged, Depth, Inspection, Scope, survey},
};

/// Everything that is not needed goes, and every pack of which a chunk is not needed is rewritten.
const COLLECT: CollectOptions = CollectOptions {
    grace: Duration::ZERO,
    rewrite_below_percent: 90,
    dry_run: false,
};

/// How much was tried.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Cells: an operation on a snapshot or the store, after one damage at one place.
    pub(crate) cells: usize,
    /// Those that had nothing to complain of.
    sound: usize,
}

impl Tally {
    pub(crate) fn count(&mut self, is_sound: bool) {
        self.cells += 1;
        self.sound += usize::from(is_sound);
    }

    /// Writes the numbers below the target folder, where `scripts/test` adds them up.
    pub(crate) fn note(&self, kind: &str) {
        let program = std::env::current_exe().unwrap();
        let folder = program.ancestors().nth(3).unwrap().join("matrix");
        fs::create_dir_all(&folder).unwrap();
        let line = format!("{} {}\n", self.cells, self.sound);
        fs::write(folder.join(format!("damage-{kind}")), line).unwrap();
    }
}

/// One case: damages the ground, tries everything, and puts it back.
pub(super) fn try_everything(ground: &mut Ground, case: &Case, tally: &mut Tally) {
    let early = ground.open(Access::ReadOnly).unwrap();
    let views = ground
        .snapshots
        .iter()
        .map(|(id, _)| reading::open(&early, id).unwrap());
    let views: Vec<_> = views.collect();
    ground.damage(case);
    for (number, (view, (_, tree))) in views.iter().zip(&ground.snapshots).enumerate() {
        let reading = Reading::through(view, tree);
        assert!(
            number < case.whole_from || reading.is_whole(),
            "{reading:?}"
        );
        tally.count(reading.is_whole());
    }
    drop((views, early));
    let reader = ground.open(Access::ReadOnly).unwrap();
    let before = read_all(&reader, ground, case, tally);
    for (number, reading) in before.iter().enumerate() {
        let is_hit = || number < case.whole_from;
        try_verify(&reader, &ground.snapshots[number], reading, is_hit, tally);
    }
    drop(reader);
    try_writing(ground, case, &before, tally);
    ground.restore();
    ground.damage(case);
    try_repairing(ground, case, &before, tally);
    ground.restore();
}

/// Reads every snapshot; those that are not hit are whole.
fn read_all(store: &Store, ground: &Ground, case: &Case, tally: &mut Tally) -> Vec<Reading> {
    let snapshots = ground.snapshots.iter().enumerate();
    let read = snapshots.map(|(number, snapshot)| {
        let reading = Reading::of(store, snapshot);
        assert!(
            number < case.whole_from || reading.is_whole(),
            "{reading:?}"
        );
        tally.count(reading.is_whole());
        reading
    });
    read.collect()
}

/// Verify is silent on what is not hit, and names every path that cannot be read, or one above it, when it reads everything.
fn try_verify(
    store: &Store,
    (id, _): &(SnapshotId, Tree),
    reading: &Reading,
    is_hit: impl Fn() -> bool,
    tally: &mut Tally,
) {
    let manifest = match store.manifest(id) {
        Ok(manifest) => manifest,
        Err(error) => {
            assert_told(&error);
            tally.count(false);
            return;
        }
    };
    for depth in [Depth::Structure, Depth::Bytes] {
        let named = named(store, &manifest, depth);
        assert!(named.is_empty() || is_hit(), "false alarm: {named:?}");
        for path in reading.failed.iter().filter(|_| depth == Depth::Bytes) {
            let is_named = named.iter().any(|top| is_below(path, top));
            assert!(is_named, "{} is not named: {named:?}", path.escape_ascii());
        }
        tally.count(named.is_empty());
    }
}

/// The damaged paths of a snapshot.
fn named(store: &Store, manifest: &Manifest, depth: Depth) -> Vec<Vec<u8>> {
    let survey = survey(store, Scope::Everything, depth, &Silent).unwrap();
    let mut named = Vec::new();
    let look = &mut |digest: &_, raw_bytes| survey.flaw(digest, raw_bytes);
    let each = &mut |one: Damaged| {
        let names = one.path.iter();
        named.push(names.flat_map(|name| [b"/", &name[..]].concat()).collect());
        Ok(())
    };
    let mut inspection = Inspection::new(store, look, &Silent);
    inspection.snapshot(manifest, each).unwrap();
    named
}

fn is_below(path: &[u8], top: &[u8]) -> bool {
    path.strip_prefix(top)
        .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// Reads everything; what could be read before can be read still.
fn read_no_worse(
    store: &Store,
    (ground, case): (&Ground, &Case),
    before: &[Reading],
    tally: &mut Tally,
    what: &str,
) {
    let after = read_all(store, ground, case, tally);
    for (after, before) in after.iter().zip(before) {
        assert!(
            after.is_as_good_as(before),
            "{what} made it worse: {before:?}, {after:?}"
        );
    }
}

/// What a writer does, one thing after the other; after each, what could be read before can be read still.
fn try_writing(ground: &Ground, case: &Case, before: &[Reading], tally: &mut Tally) {
    let store = ground.open(Access::ReadWrite).unwrap();
    let holds = |store: &Store, tally: &mut Tally, what: &str| {
        read_no_worse(store, (ground, case), before, tally, what);
    };
    holds(&store, tally, "opening");
    let fresh = create(&store, tree(77));
    assert!(
        Reading::of(&store, &fresh).is_whole(),
        "a new snapshot is not whole"
    );
    tally.count(true);
    // The same content once more: what is damaged may be taken for there, but nothing may be wrong.
    let same = create(&store, ground.snapshots[0].1.clone());
    tally.count(Reading::of(&store, &same).is_whole());
    holds(&store, tally, "creating");
    store.rebuild_index(&Silent).unwrap();
    holds(&store, tally, "rebuilding the index");
    store.remove_manifest(&same.0).unwrap();
    store.remove_manifest(&fresh.0).unwrap();
    tally.count(true);
    drop(store);
    let store = ground.open(Access::ReadWrite).unwrap();
    holds(&store, tally, "opening again");
    // Twice: the second finds what the first has condemned, and rewritten.
    for what in ["collecting", "collecting again"] {
        let report = store
            .collect(&COLLECT, &|| Ok(Vec::new()), &Silent)
            .unwrap();
        tally.count(report.damage.is_empty() && report.damaged_packs == 0);
        holds(&store, tally, what);
    }
}

/// A repair makes nothing worse and leaves nothing to repair; what it could not have again comes back with the content.
fn try_repairing(ground: &Ground, case: &Case, before: &[Reading], tally: &mut Tally) {
    let store = ground.open(Access::ReadWrite).unwrap();
    let holds = |store: &Store, tally: &mut Tally, what: &str| {
        read_no_worse(store, (ground, case), before, tally, what);
    };
    let found = ground.found();
    mend(&store, true);
    assert!(ground.found() == found, "a dry run changed something");
    tally.count(!mend(&store, false));
    holds(&store, tally, "repairing");
    assert!(!mend(&store, false), "a second repair had something to do");
    tally.count(true);
    let lost = store.manifests().unwrap();
    for (id, tree) in &ground.snapshots[..case.whole_from] {
        let same = create(&store, tree.clone());
        assert!(Reading::of(&store, &same).is_whole(), "not stored again");
        let snapshot = (*id, tree.clone());
        let is_whole = Reading::of(&store, &snapshot).is_whole();
        assert!(
            is_whole || !lost.contains(id),
            "what was lost did not come back"
        );
        tally.count(is_whole);
    }
    drop(store);
    holds(
        &ground.open(Access::ReadWrite).unwrap(),
        tally,
        "opening again",
    );
}

/// Mends the store as the daemon does: packs and the index, and manifests that cannot be read are moved away. Returns whether there
/// was something to do.
fn mend(store: &Store, is_dry: bool) -> bool {
    let mut had_work = false;
    for id in store.manifests().unwrap() {
        let is_damaged = matches!(store.manifest(&id), Err(Error::Corrupt { .. }));
        had_work |= is_damaged;
        if is_damaged && !is_dry {
            assert!(store.quarantine_manifest(&id).unwrap());
        }
    }
    let mut survey = survey(store, Scope::Everything, Depth::Bytes, &Silent).unwrap();
    let mut salvage = Salvage::begin(store, is_dry).unwrap();
    salvage.save(&mut survey, &Silent).unwrap();
    had_work |= salvage.has_work() || !store.check_index().unwrap().is_empty();
    if had_work && !is_dry {
        salvage.finish(&Silent).unwrap();
    }
    had_work
}

fn create(store: &Store, tree: Tree) -> (SnapshotId, Tree) {
    (commit(store, &tree, LinkTable::default()).id, tree)
}

/// The format file decides whether there is a store at all: it is refused, and whole again when the file is.
pub(super) fn try_opening(ground: &mut Ground, case: &Case, tally: &mut Tally) {
    ground.damage(case);
    for access in [Access::ReadOnly, Access::ReadWrite] {
        let error = ground.open(access).unwrap_err();
        assert_told(&error);
        tally.count(false);
    }
    // Making a store where one has lost its format file finds everything again; a damaged file is not written over.
    match Store::ensure(ground.root()) {
        Ok(store) => {
            for snapshot in &ground.snapshots {
                assert!(Reading::of(&store, snapshot).is_whole());
                tally.count(true);
            }
        }
        Err(error) => {
            assert_told(&error);
            tally.count(false);
        }
    }
    ground.restore();
    let store = ground.open(Access::ReadWrite).unwrap();
    for snapshot in &ground.snapshots {
        assert!(Reading::of(&store, snapshot).is_whole());
        tally.count(true);
    }
}
