//! The scrub finds what is damaged, goes on where it was, and mends what it can.

use std::{fs, path::PathBuf};

use super::*;
use crate::fixture;

/// As fast as it goes.
const ENDLESS: u64 = u64::MAX;

fn read_all(host: &Host) -> Vec<PackId> {
    let stopper = Stopper::default();
    let found = Mutex::new(Vec::new());
    read_on(host, &Pace::new(ENDLESS, &stopper), &|pack| {
        lock(&found).push(pack);
    })
    .unwrap();
    found.into_inner().unwrap()
}

fn packs(host: &Host) -> Vec<PathBuf> {
    let path = |pack: PackId| {
        let name = pack.to_string();
        host.config
            .root
            .join("packs")
            .join(&name[..2])
            .join(format!("{name}.pack"))
    };
    host.store.packs().unwrap().into_iter().map(path).collect()
}

#[test]
fn a_round_reads_everything_and_is_noted() {
    let (host, _folder) = fixture::host(|_| {});
    fixture::snapshot(&host, "one", None);
    assert_eq!(read_all(&host), []);
    let total = host.store.stats().unwrap().stored_bytes;
    let status = host.scrub.status(ENDLESS, total);
    assert_eq!((status.read_bytes, status.damaged_packs), (total, 0));
    assert!(status.completed_at.is_some());
    let noted = Scrub::load(&host.catalogue).unwrap();
    assert_eq!(noted.place(), host.scrub.place());
}

#[test]
fn a_round_that_was_cut_short_goes_on_behind_the_last_pack() {
    let (host, _folder) = fixture::host(|_| {});
    for name in ["one", "two", "three"] {
        let manifest = fixture::committed(&host, name, None);
        host.catalogue.activate(&manifest).unwrap();
        let draft = host.store.begin(snap_store::SnapshotId::random()).unwrap();
        draft.put_data(name.as_bytes().to_vec()).unwrap();
        draft.publish_chunks().unwrap();
    }
    let all = host.store.packs().unwrap();
    host.scrub
        .change(&host.catalogue, |place| {
            place.after = Some(all[0].to_string());
            place.begun_at = Some(1);
        })
        .unwrap();
    // The first is not looked at any more.
    for path in packs(&host) {
        fs::write(path, "no pack").unwrap();
    }
    assert_eq!(read_all(&host), all[1..]);
    assert_eq!(host.scrub.place().begun_at, Some(1));
    assert_eq!(
        read_all(&host),
        all,
        "and the next round begins with the first again"
    );
}

/// **V6** Everything stored is read again and again in the background, so many bytes a day. What is found damaged is mended when
/// all of it can be had again, and otherwise shown by `snapctl status`, `list` and `doctor` until somebody decides.
#[tokio::test]
async fn damage_without_another_copy_is_shown_and_left_as_it_is() {
    let (host, _folder) = fixture::host(|_| {});
    let id = fixture::snapshot(&host, "one", None);
    let [path] = &packs(&host)[..] else {
        panic!("one snapshot is one pack");
    };
    let mut bytes = fs::read(path).unwrap();
    bytes[20] ^= 1;
    fs::write(path, &bytes).unwrap();
    let [pack] = read_all(&host)[..] else {
        panic!("it is damaged");
    };
    host.scrub
        .change(&host.catalogue, |place| {
            place.damaged.insert(pack.to_string());
        })
        .unwrap();
    mend_known(&host, &JobHandle::new()).await.unwrap();
    assert_eq!(fs::read(path).unwrap(), bytes);
    assert_eq!(host.scrub.status(1, 1).damaged_packs, 1);
    assert!(
        host.marks
            .of(&id)
            .is_some_and(|mark| !mark.lost && mark.files == 1)
    );
}
