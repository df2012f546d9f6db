//! What is understood, and what is refused.

use std::fs;

use super::*;

#[test]
fn times_to_live_are_written_as_people_write_them() {
    for (text, expected) in [
        ("14d", Ttl::Seconds(1_209_600)),
        ("2h30m", Ttl::Seconds(9_000)),
        ("1500ms", Ttl::Seconds(1)),
        ("0", Ttl::Never),
        ("0s", Ttl::Never),
        ("never", Ttl::Never),
        ("default", Ttl::Default),
    ] {
        assert_eq!(ttl(text), Ok(expected), "{text}");
    }
    for bad in [
        "",
        "soon",
        "14",
        "-1d",
        "999ms",
        "99999999999999999999d",
        "Never",
    ] {
        assert!(ttl(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_network_is_none_host_or_a_path() {
    assert_eq!(network("none"), Ok(NetworkChoice::None));
    assert_eq!(network("host"), Ok(NetworkChoice::Host));
    let path = "/run/netns/x";
    assert_eq!(network(path), Ok(NetworkChoice::Path(path.to_owned())));
    assert!(network("bridge").is_err());
}

#[test]
fn a_label_is_split_at_its_first_equals_sign() {
    let label: Label = "a=b=c".parse().unwrap();
    assert_eq!((label.key.as_str(), label.value.as_str()), ("a", "b=c"));
    assert_eq!("a=".parse::<Label>().unwrap().value, "");
    assert!("a".parse::<Label>().is_err());
    assert!("=b".parse::<Label>().is_err());
}

#[test]
fn of_a_label_that_is_given_twice_the_last_one_counts() {
    let labels = ["a=1", "a=2"].map(|text| text.parse().unwrap());
    assert_eq!(label_map(labels.to_vec())["a"], "2");
}

#[test]
fn a_filter_asks_for_a_key_or_for_a_value_too() {
    for filter in ["a", "a=1", "a=", "a=b=c"] {
        assert_eq!(filter.parse::<LabelFilter>().unwrap().to_string(), filter);
    }
    assert!("=1".parse::<LabelFilter>().is_err());
}

#[test]
fn a_folder_of_a_container_begins_at_the_first_colon_before_a_slash() {
    let whole = container("web".into()).unwrap();
    assert_eq!((whole.id.as_str(), whole.folder), ("web", None));
    let folder = container("web:/srv/a:/b".into()).unwrap();
    assert_eq!(folder.id, "web");
    assert_eq!(folder.folder, Some(WirePath::new("/srv/a:/b")));
    assert!(container(":/srv".into()).is_err());
}

#[test]
fn what_is_copied_where_is_told_by_the_arguments() {
    let told = |source: &str, destination: &str| copying(source.into(), destination.into());
    let Copying::Out(from, to) = told("web:v1:/etc", "/tmp/a:/b").unwrap() else {
        panic!("it is copied out");
    };
    assert_eq!(
        (from.reference.as_str(), to),
        ("web:v1", "/tmp/a:/b".into())
    );
    for source in ["file", "./a:/b", "/a:/b"] {
        let Copying::In(from, to) = told(source, "web:/etc/x").unwrap() else {
            panic!("{source} is put in");
        };
        assert_eq!((from, to.path), (source.into(), WirePath::new("/etc/x")));
    }
    for (source, destination) in [
        ("web", "/tmp/x"),
        ("", ""),
        ("a:/b", "c:/d"),
        ("/a", "./b:/c"),
    ] {
        assert!(told(source, destination).is_err(), "{source} {destination}");
    }
}

#[test]
fn a_path_in_a_snapshot_begins_at_the_first_colon_before_a_slash() {
    for (text, reference, path) in [
        ("web:/", "web", "/"),
        ("team/web:v1:/etc", "team/web:v1", "/etc"),
        ("web:/a:/b", "web", "/a:/b"),
    ] {
        let parsed = path_in_snapshot(text.into()).unwrap();
        assert_eq!(parsed.reference, reference);
        assert_eq!(parsed.path, WirePath::new(path));
    }
    for bad in ["web", "web:", "web:etc", ":/etc", "/etc"] {
        assert!(path_in_snapshot(bad.into()).is_err(), "{bad}");
    }
}

#[test]
fn links_to_a_folder_are_resolved_and_a_destination_keeps_its_own_name() {
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().canonicalize().unwrap();
    fs::create_dir(real.join("real")).unwrap();
    std::os::unix::fs::symlink("real", real.join("link")).unwrap();
    let linked = real.join("real/../link");
    assert_eq!(super::folder(&linked).as_path(), real.join("real"));
    assert_eq!(destination(&linked).as_path(), real.join("link"));
    let missing = linked.join("new");
    assert_eq!(destination(&missing).as_path(), real.join("real/new"));
}

#[test]
fn a_path_that_cannot_be_looked_at_is_absolute_all_the_same() {
    assert_eq!(
        folder(Path::new("/no/such/x")).as_path(),
        Path::new("/no/such/x")
    );
    assert_eq!(destination(Path::new("/")).as_path(), Path::new("/"));
}

#[test]
fn what_a_rule_keeps_is_a_number_or_unlimited() {
    assert_eq!(kept("3"), Ok(3));
    assert_eq!(kept("unlimited"), Ok(u32::MAX));
    for wrong in ["0", "-1", "", "all", "4294967296"] {
        assert!(kept(wrong).is_err(), "{wrong}");
    }
    assert_eq!(seconds("1d 1s"), Ok(86_401));
    for wrong in ["0", "0s", "10ms", "soon", ""] {
        assert!(seconds(wrong).is_err(), "{wrong}");
    }
}
