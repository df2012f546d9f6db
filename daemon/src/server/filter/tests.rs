use snap_api::ErrorReport;
use snap_store::SnapshotId;

use super::*;

const NOW: i64 = 1_000_000;
const DAY: i64 = 24 * 60 * 60;

fn record() -> SnapshotRecord {
    SnapshotRecord {
        state: SnapshotState::Active,
        names: vec!["team/web:latest".parse().unwrap()],
        versions: vec!["team/web:12".parse().unwrap()],
        labels: BTreeMap::from([("branch".to_owned(), "main=x".to_owned())]),
        is_container: true,
        image: Some("docker.io/library/debian:bookworm".to_owned()),
        expires_at: Some(NOW + DAY),
        nodes: 1,
        logical_bytes: 3 << 30,
        stored_bytes: 5 << 20,
        ..SnapshotRecord::creating(
            SnapshotId::from_bytes([7; 16]),
            "default".parse().unwrap(),
            "web-1".to_owned(),
            NOW - 3 * DAY,
        )
    }
}

fn passes(record: &SnapshotRecord, filters: &[&str]) -> bool {
    let filters: Vec<String> = filters.iter().map(|text| (*text).to_owned()).collect();
    Filters::parse(&filters).unwrap().pass(record, NOW)
}

fn refused(filter: &str) -> String {
    let report = ErrorReport::from(Filters::parse(&[filter.to_owned()]).unwrap_err());
    assert_eq!(report.reason, "invalid-filter", "{filter}");
    report.message
}

#[test]
fn a_folder_of_a_container_is_found_by_both() {
    let folder = SnapshotRecord {
        source: "web-1:/srv/a:b".to_owned(),
        is_container: false,
        image: None,
        ..record()
    };
    for filter in ["container=web-1", "path=/srv/*", "source=web-1:/srv/a:b"] {
        assert!(passes(&folder, &[filter]), "{filter}");
    }
    for filter in ["container=web-1:*", "path=web-1*", "path=/srv"] {
        assert!(!passes(&folder, &[filter]), "{filter}");
    }
}

#[test]
fn each_filter_holds_or_does_not() {
    for filter in [
        "label=branch",
        "label=branch=main=x",
        "state=active",
        "container=web-*",
        "source=web-1",
        "image=*debian*",
        "name=team/*",
        "name=team/web",
        "name=*:latest",
        "name=team/web:1?",
        "pinned=false",
        "created>2d",
        "created<4days",
        "expires<25h",
        "expires>1h",
        "size>2G",
        "size<4GiB",
        "stored>5000000",
        "stored<6MB",
    ] {
        assert!(passes(&record(), &[filter]), "{filter}");
    }
    for filter in [
        "label=team",
        "label=branch=",
        "state=failed",
        "container=web",
        "path=web-1",
        "image=debian",
        "name=web",
        "pinned=true",
        "created<2d",
        "expires>2d",
        "size<3221225472",
        "stored>6M",
    ] {
        assert!(!passes(&record(), &[filter]), "{filter}");
    }
}

#[test]
fn words_of_one_kind_are_alternatives_and_all_else_must_hold() {
    assert!(passes(&record(), &[]));
    assert!(passes(&record(), &["state=failed", "state=active"]));
    assert!(passes(
        &record(),
        &["name=x", "name=team/web", "pinned=false"]
    ));
    assert!(!passes(&record(), &["state=active", "name=x"]));
    assert!(!passes(&record(), &["label=branch", "label=team"]));
    assert!(passes(&record(), &["created>2d", "created<4d"]));
    assert!(!passes(&record(), &["container=x", "source=web-1"]));
}

#[test]
fn what_never_expires_or_is_pinned_expires_later_than_anything() {
    let pinned = SnapshotRecord {
        is_pinned: true,
        ..record()
    };
    let kept = SnapshotRecord {
        expires_at: None,
        ..record()
    };
    for record in [pinned, kept] {
        assert!(passes(&record, &["expires>500years"]));
        assert!(!passes(&record, &["expires<500years"]));
    }
}

#[test]
fn a_filter_that_is_none_is_named_with_those_there_are() {
    for bad in ["", "web", "colour=red", "size=4", "state>1", "=x", "Name=x"] {
        let message = refused(bad);
        let is_told = message.contains(&format!("`{bad}`")) && message.contains("created>AGE");
        assert!(is_told, "{message}");
    }
    for (bad, why) in [
        ("state=gone", "creating, active, failed, deleting"),
        ("pinned=yes", "`true` or `false`"),
        ("created>soon", "`2d`"),
        ("size>1X", "`64K`"),
        ("size>", "`64K`"),
        ("size<-1", "`64K`"),
        ("size<1iB", "`64K`"),
        ("size<99999999999999999999", "`64K`"),
        ("label=", "not empty"),
        ("label==x", "not empty"),
        ("name=", "1 to 512"),
    ] {
        let message = refused(bad);
        assert!(message.contains(why) && message.contains(bad), "{message}");
    }
}

#[test]
fn filters_are_bounded_in_number_and_size() {
    assert!(Filters::parse(&vec!["pinned=true".to_owned(); 64]).is_ok());
    assert!(Filters::parse(&vec!["pinned=true".to_owned(); 65]).is_err());
    assert!(refused(&format!("name={}", "x".repeat(513))).len() < 500);
    assert!(refused(&format!("label={}", "x".repeat(9000))).len() < 1000);
    assert!(passes(&record(), &["size<9000000000000T"]));
}

#[test]
fn a_pattern_is_the_whole_text() {
    for (glob, text) in [
        ("*", ""),
        ("*", "abc"),
        ("a*c", "abbbc"),
        ("*b*", "abc"),
        ("a?c", "abc"),
        ("**a**", "a"),
        ("a*b*c", "aXbXbXc"),
    ] {
        assert!(matches(glob, text), "{glob} {text}");
    }
    for (glob, text) in [
        ("", "a"),
        ("a", ""),
        ("a*c", "abcd"),
        ("?", ""),
        ("a*b*c", "acb"),
    ] {
        assert!(!matches(glob, text), "{glob} {text}");
    }
    assert!(!matches(&"*a".repeat(200), &"a".repeat(199)));
}
