//! The power goes, or something fails, at every step of a collection. What snapshots need is whole afterwards, and the next collection
//! finishes what this one began.

use std::io::ErrorKind;

use super::*;
use crate::{
    disk::doubles::crash_everywhere,
    store::tests::crash::{Checked, bite, told},
};

/// A store with everything a collection has to do: dead packs, sparse ones, several segments, and a pack condemned before.
struct Scene {
    disk: MemoryDisk,
    store: Store,
    kept: Vec<(SnapshotId, Vec<Vec<u8>>)>,
}

impl Scene {
    fn new() -> Self {
        let disk = MemoryDisk::default();
        let store = store_on(&disk);
        let all: Vec<_> = (0..6).map(|seed| noise(seed, 900)).collect();
        let mut kept = Vec::new();
        let mut keep = |files: Vec<Vec<u8>>| {
            kept.push((snapshot(&store, &files).unwrap(), files));
        };
        let dead = snapshot(&store, &[noise(20, 900)]).unwrap();
        store.remove_manifest(&dead).unwrap();
        collect_at(&store, 0, 100).unwrap();
        publish_pack(&store, &all);
        keep(vec![all[1].clone(), noise(30, 500)]);
        let dead = snapshot(&store, &[noise(21, 900), all[2].clone()]).unwrap();
        keep(vec![noise(20, 900), noise(31, 500)]);
        store.remove_manifest(&dead).unwrap();
        Self { disk, store, kept }
    }

    fn collect(&self) -> Result<CollectReport> {
        collect_at(&self.store, 1000, 0)
    }
}

/// What must stay is read by a process that only reads and by the next writer; that one finishes the collection, and nothing is left of
/// what is not needed.
fn sound(disk: &MemoryDisk, kept: &[(SnapshotId, Vec<Vec<u8>>)]) -> Checked {
    let open = |access| Store::open_on(Arc::new(disk.clone()), access).map_err(told);
    let whole = |store: &Store| {
        let mut ids = store.manifests().map_err(told)?;
        ids.retain(|id| kept.iter().all(|(kept, _)| kept != id));
        if !ids.is_empty() {
            return Err(format!("removed snapshots are back: {ids:?}"));
        }
        for (id, files) in kept {
            if files_of(store, id).map_err(told)? != *files {
                return Err(format!("snapshot {id} has other bytes"));
            }
        }
        Ok(())
    };
    let reader = open(Access::ReadOnly)?;
    whole(&reader)?;
    let store = open(Access::ReadWrite)?;
    whole(&store)?;
    collect_at(&store, 2000, 0).map_err(told)?;
    whole(&store)?;
    whole(&reader)?;
    match leaves_nothing(&store, disk) {
        true => Ok(()),
        false => Err("something stays for ever".to_owned()),
    }
}

#[test]
fn a_collection_can_be_cut_short_anywhere() {
    let scene = Scene::new();
    let run = || scene.collect().unwrap();
    let (recording, report) = crash_everywhere("collect", &scene.disk, run, |found, _| {
        sound(found, &scene.kept)
    });
    assert!(recording.steps() > 30, "{}", recording.steps());
    assert!(
        report.removed_packs > 3 && report.rewritten_packs > 0,
        "{report:?}"
    );
}

#[test]
fn a_collection_with_a_grace_period_can_be_cut_short_anywhere() {
    let scene = Scene::new();
    let run = || collect_at(&scene.store, 50, 100).unwrap();
    let (_, report) = crash_everywhere("collect-grace", &scene.disk, run, |found, _| {
        sound(found, &scene.kept)
    });
    assert!(report.waiting_packs > 3, "{report:?}");
}

/// Runs a collection that fails at `step`; `None` when there are not as many steps.
fn failing(step: u64, kind: ErrorKind) -> Option<(Scene, Result<CollectReport>, &'static str)> {
    let scene = Scene::new();
    scene.disk.fail_at(step, kind, false);
    let collected = scene.collect();
    let failed_op = scene.disk.heal()?;
    Some((scene, collected, failed_op))
}

#[test]
fn a_failure_at_any_step_of_a_collection_loses_nothing() {
    let mut step = 0;
    while let Some((scene, _, failed_op)) = failing(step, ErrorKind::Other) {
        for (id, files) in &scene.kept {
            assert_eq!(files_of(&scene.store, id).unwrap(), *files, "{failed_op}");
        }
        match scene.collect() {
            Ok(report) => assert!(!report.is_incomplete, "{failed_op}: {report:?}"),
            Err(error) => {
                let can_latch = ["sync", "sync folder", "sync all", "rename"].contains(&failed_op);
                assert!(
                    can_latch && matches!(error, Error::Latched { .. }),
                    "{failed_op}: {error}"
                );
            }
        }
        let Scene { disk, store, kept } = scene;
        drop(store);
        for found in [disk.after_power_cut(), disk.after_kill()] {
            sound(&found, &kept).unwrap();
        }
        step += 1;
    }
    assert!(step > 30, "only {step} steps");
}

#[test]
fn a_full_disk_at_any_step_of_a_collection_is_told_and_forgotten() {
    let mut step = 0;
    while let Some((scene, collected, failed_op)) = failing(step, ErrorKind::StorageFull) {
        for (id, files) in &scene.kept {
            assert_eq!(files_of(&scene.store, id).unwrap(), *files, "{failed_op}");
        }
        if let Err(error) = collected {
            assert!(error.is_full(), "{failed_op}: {error}");
        }
        if failed_op != "sync folder" {
            scene.collect().unwrap();
            assert!(leaves_nothing(&scene.store, &scene.disk), "{failed_op}");
        }
        step += 1;
    }
}

/// A snapshot was removed by a process that died before it had synced that; then everything is collected.
#[test]
fn every_sync_of_a_collection_is_needed_but_those_of_the_index_and_of_what_went() {
    let scene = Scene::new();
    let (removed, _) = scene.kept[1];
    let packs = scene.disk.files(".pack");
    let (recording, report) = scene.disk.record(|| {
        scene.disk.remove(&layout::manifest(&removed)).unwrap();
        scene.collect().unwrap()
    });
    assert_eq!(report.rewritten_packs, 1, "{report:?}");
    let made = scene.disk.files(".pack");
    let is_new = |pack: &&PathBuf| !packs.contains(pack);
    let folder = made.iter().find(is_new).unwrap().parent().unwrap();
    let folder = folder.to_string_lossy().into_owned();
    let is_spare = |sync: &str| {
        let is_of_copy = sync.ends_with(".pack") || sync.ends_with(&folder);
        !is_of_copy && !sync.contains("folder manifests")
    };
    let check = |found: &MemoryDisk, _| every_snapshot_is_whole(found, &scene.kept);
    let needed = bite(&recording, is_spare, check);
    assert_eq!(needed, 3);
}

/// Whatever can be seen is whole, and the first that is kept can be seen.
fn every_snapshot_is_whole(disk: &MemoryDisk, all: &[(SnapshotId, Vec<Vec<u8>>)]) -> Checked {
    let store = Store::open_on(Arc::new(disk.clone()), Access::ReadOnly).map_err(told)?;
    let there = store.manifests().map_err(told)?;
    if !there.contains(&all[0].0) {
        return Err("a snapshot is gone".to_owned());
    }
    for (id, files) in all.iter().filter(|(id, _)| there.contains(id)) {
        if files_of(&store, id).map_err(told)? != *files {
            return Err(format!("snapshot {id} has other bytes"));
        }
    }
    Ok(())
}
