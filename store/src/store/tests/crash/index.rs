//! What happens to the index alone: merging its segments, and making it anew.

use super::*;

#[test]
fn a_merge_of_segments_can_be_cut_short_anywhere() {
    let disk = MemoryDisk::default();
    let (store, ids) = store_before(&disk);
    let folder = Path::new("drafts/merge");
    disk.create_folder(folder).unwrap();
    // One segment more than is left alone, without the merge that would come with it.
    let mut build = store.inner.index.begin(folder);
    let packs = layout::packs(&disk).unwrap();
    let footer = crate::pack::Footer::read(&disk, &layout::pack(&packs[0])).unwrap();
    build.add_footer(footer).unwrap();
    let written = build.write().unwrap();
    written.sink.sync().unwrap();
    store.inner.index.install(&written).unwrap();
    let segments = disk.files(".seg").len();
    let run = || store.inner.index.tidy(folder).unwrap();
    let (recording, ()) =
        crash_everywhere("merge-segments", &disk, run, |found, _| sound(found, &ids));
    assert!(recording.steps() > 5, "{}", recording.steps());
    assert!(disk.files(".seg").len() < segments);
}

#[test]
fn a_rebuild_of_the_index_can_be_cut_short_anywhere() {
    let disk = MemoryDisk::default();
    let (store, ids) = store_before(&disk);
    let run = || store.rebuild_index(&Silent).unwrap();
    let (recording, ()) =
        crash_everywhere("rebuild-index", &disk, run, |found, _| sound(found, &ids));
    assert!(recording.steps() > 5, "{}", recording.steps());
}
