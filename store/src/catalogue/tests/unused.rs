//! Snapshots that expire when nobody uses them.

use super::*;

const DAY: u64 = 86_400;

/// One that was made at 1000, expires by no time to live, and may go a day without a use.
fn catalogue_with_unused() -> (Catalogue, TempDir) {
    let (catalogue, folder) = catalogue();
    active(&catalogue, id(1), 1000, None);
    catalogue.set_expiry(&id(1), None).unwrap();
    catalogue.set_unused(&id(1), Some(DAY), 0).unwrap();
    (catalogue, folder)
}

fn expiry(catalogue: &Catalogue) -> Option<(i64, ExpiryCause)> {
    catalogue.get(&id(1)).unwrap().expiry()
}

#[test]
fn a_use_puts_expiry_off_and_a_clock_that_goes_back_does_not_bring_it_near() {
    let (catalogue, _folder) = catalogue_with_unused();
    assert_eq!(expiry(&catalogue), Some((87_400, ExpiryCause::Unused)));
    catalogue.touch(&id(1), 5000).unwrap();
    assert_eq!(expiry(&catalogue), Some((91_400, ExpiryCause::Unused)));
    catalogue.touch(&id(1), -7).unwrap();
    assert_eq!(expiry(&catalogue), Some((91_400, ExpiryCause::Unused)));
    assert!(catalogue.expired(91_399).unwrap().is_empty());
    assert_eq!(catalogue.expired(91_400).unwrap().len(), 1);
    assert!(catalogue.begin_expiry(&id(1), 91_399).is_err());
    catalogue.set_expiry(&id(1), Some(2000)).unwrap();
    assert_eq!(expiry(&catalogue), Some((2000, ExpiryCause::Ttl)));
    catalogue.set_expiry(&id(1), None).unwrap();
    catalogue.begin_expiry(&id(1), 91_400).unwrap();
}

/// Were it counted from the last use alone, a snapshot that lay idle for long would go with the next look.
#[test]
fn what_is_set_counts_from_then_on() {
    let (catalogue, _folder) = catalogue_with_unused();
    catalogue.set_unused(&id(1), Some(10), 700_000).unwrap();
    assert_eq!(expiry(&catalogue), Some((700_010, ExpiryCause::Unused)));
    catalogue.touch(&id(1), 700_005).unwrap();
    assert_eq!(expiry(&catalogue), Some((700_015, ExpiryCause::Unused)));
}

#[test]
fn what_is_used_is_not_unused_and_the_end_of_the_use_counts() {
    let (catalogue, _folder) = catalogue_with_unused();
    catalogue
        .insert_container(&container("web", id(1)))
        .unwrap();
    catalogue.insert_mount(&mount("/mnt/a", id(1))).unwrap();
    assert_eq!(expiry(&catalogue), None);
    assert!(catalogue.expired(i64::MAX).unwrap().is_empty());
    catalogue
        .remove_container(&namespace(), "web", 200_000)
        .unwrap();
    assert_eq!(expiry(&catalogue), None);
    catalogue
        .remove_mount(Path::new("/mnt/a"), 300_000)
        .unwrap();
    assert_eq!(expiry(&catalogue), Some((386_400, ExpiryCause::Unused)));
    catalogue.pin(&id(1)).unwrap();
    assert!(catalogue.expired(i64::MAX).unwrap().is_empty());
    catalogue.unpin(&id(1)).unwrap();
    catalogue.set_unused(&id(1), None, 0).unwrap();
    assert!(catalogue.expired(i64::MAX).unwrap().is_empty());
}

#[test]
fn nothing_unused_is_lost_to_a_copy_that_is_put_back() {
    let (catalogue, folder) = catalogue_with_unused();
    let copy = folder.path().join("copy.db");
    catalogue.back_up(&copy).unwrap();
    drop(catalogue);
    let path = folder.path().join("catalogue.db");
    Catalogue::put_back(&copy, &path, 700_000).unwrap();
    let (catalogue, _) = Catalogue::open(&path).unwrap();
    assert_eq!(expiry(&catalogue), Some((700_000, ExpiryCause::Unused)));
}
