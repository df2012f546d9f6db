//! Whatever is asked wrongly, or goes wrong around the daemon, ends with its own error and exit code, and changes nothing.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use snap_api::ContainerView;
use snap_tests::{Host, HostOptions, Image, LoopFolder, noise};

const USAGE: i32 = 2;
const NOT_FOUND: i32 = 3;
const CONFLICT: i32 = 4;
const LIMIT: i32 = 5;
const DENIED: i32 = 6;
const UNAVAILABLE: i32 = 7;

const NO_ID: &str = "0123456789abcdef0123456789abcdef";
const TOO_LONG: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// What is asked, and the exit code it ends with. Words in capitals stand for folders of the host.
const CASES: &[(&[&str], i32)] = &[
    (&["create", "unknown"], NOT_FOUND),
    (&["create", "halted"], CONFLICT),
    (&["create", "taskless"], CONFLICT),
    (&["create"], USAGE),
    (&["create", "one", "--path", "DATA"], USAGE),
    (&["create", "one", "--name", "Bad Name"], USAGE),
    (&["create", "one", "--name", "a:"], USAGE),
    (&["create", "one", "--name", ":v1"], USAGE),
    (&["create", "one", "--name", "a:b:c"], USAGE),
    (&["create", "one", "--name", "a/../b"], USAGE),
    (&["create", "one", "--name", ""], USAGE),
    (&["create", "one", "--name", TOO_LONG], USAGE),
    (&["create", "one", "--ttl", "soon"], USAGE),
    (&["create", "one", "--ttl", "-1d"], USAGE),
    (&["create", "one", "--ttl", "500years"], USAGE),
    (&["create", "one", "--label", "no value"], USAGE),
    (&["create", "one", "--exclude", "[a"], USAGE),
    (
        &["create", "one", "--include-mount", "/no/such/mount"],
        USAGE,
    ),
    (&["create", "one", "--memory=sometimes"], USAGE),
    (&["auto", "triggers", "web"], USAGE),
    (&["--namespace", "a..b", "auto", "triggers"], USAGE),
    (&["create", "one:/no/such/folder"], NOT_FOUND),
    (&["create", "one:/bin/busybox"], USAGE),
    (&["create", "one:/a/../b"], USAGE),
    (&["create", "one:/proc"], CONFLICT),
    (&["create", "one:/dev/pts"], CONFLICT),
    (&["create", "one:/etc", "--memory"], USAGE),
    (&["create", "one:/etc", "--stop"], USAGE),
    (&["create", "one:/etc", "--path", "DATA"], USAGE),
    (&["create", ":/etc"], USAGE),
    (&["create", "unknown:/etc"], NOT_FOUND),
    (&["create", "halted:/etc"], CONFLICT),
    (
        &["create", "one:/etc", "--include-mount", "/no/such/mount"],
        USAGE,
    ),
    (&["create", "one:/no/such/folder", "--dry-run"], NOT_FOUND),
    (
        &[
            "auto",
            "set",
            "a",
            "--container",
            "one:/etc",
            "--schedule",
            "daily",
        ],
        USAGE,
    ),
    (&["create", "unknown", "--dry-run"], NOT_FOUND),
    (&["create", "halted", "--memory", "--dry-run"], CONFLICT),
    (&["create", "one", "--dry-run", "--detach"], USAGE),
    (
        &["create", "--path", "DATA", "--memory", "--dry-run"],
        USAGE,
    ),
    (&["create", "--path", "STORE", "--dry-run"], USAGE),
    (&["check", "unknown"], NOT_FOUND),
    (&["check", "halted"], CONFLICT),
    (&["check", "taskless", "--memory"], CONFLICT),
    (&["check", "not an id"], USAGE),
    (&["check"], USAGE),
    (&["create", "--path", "DATA", "--memory"], USAGE),
    (&["create", "halted", "--memory"], CONFLICT),
    (&["create", "--path", "DATA/nothing"], NOT_FOUND),
    (&["create", "--path", "DATA/file"], USAGE),
    (&["create", "--path", "STORE"], USAGE),
    (&["restore", "unknown"], NOT_FOUND),
    (&["restore", "good:v9"], NOT_FOUND),
    (&["restore", NO_ID], NOT_FOUND),
    (&["restore", "Not A Reference"], USAGE),
    (&["restore", "good:v1", "--id", "one"], CONFLICT),
    (&["restore", "good:v1", "--id", "not an id"], USAGE),
    (&["restore", "good:v1", "--id", "../../etc"], USAGE),
    (&["restore", "good:v1", "--count", "0"], USAGE),
    (&["restore", "good:v1", "--count", "-1"], USAGE),
    (&["restore", "good:v1", "--network", "bogus"], USAGE),
    (
        &["restore", "good:v1", "--network", "/no/such/netns"],
        NOT_FOUND,
    ),
    (
        &["restore", "good:v1", "--drop-mount", "/no/such/mount"],
        USAGE,
    ),
    (&["restore", "folder:v1"], CONFLICT),
    (&["restore", "good:v1", "--no-memory", "--fallback"], USAGE),
    (&["restore", "good:v1", "--memory"], USAGE),
    (&["restore", "good:v1", "--hook", "hook"], USAGE),
    (
        &["restore", "good:v1", "--no-memory", "--hook", "/h"],
        USAGE,
    ),
    (
        &["restore", "good:v1", "--no-memory", "--tcp-established"],
        USAGE,
    ),
    (&["create", "one", "--hook", "hook"], USAGE),
    (&["create", "one", "--hook", ""], USAGE),
    (&["create", "--path", "DATA", "--hook", "/h"], USAGE),
    (&["mount", "unknown", "EMPTY"], NOT_FOUND),
    (&["mount", "good:v1", "EMPTY/nothing"], NOT_FOUND),
    (&["mount", "good:v1", "DATA/file"], USAGE),
    (&["mount", "good:v1", "MOUNTED"], CONFLICT),
    (&["mount", "expired:v1", "EMPTY"], CONFLICT),
    (&["unmount", "EMPTY"], NOT_FOUND),
    (&["unmount", "/"], NOT_FOUND),
    (&["show", "unknown"], NOT_FOUND),
    (&["show", "bad reference"], USAGE),
    (&["show", "unknown", "--memory"], NOT_FOUND),
    (&["show", "good:v1", "--memory"], CONFLICT),
    (&["remove", "unknown"], NOT_FOUND),
    (&["remove", "folder:v1", "unknown"], NOT_FOUND),
    (&["remove", "good:v1"], CONFLICT),
    (&["remove", "unknown", "--permanent"], NOT_FOUND),
    (&["undelete"], USAGE),
    (&["undelete", "unknown"], NOT_FOUND),
    (&["undelete", "good:v1"], NOT_FOUND),
    (&["undelete", "Bad Name"], USAGE),
    (&["trash"], USAGE),
    (&["trash", "empty", "unknown"], NOT_FOUND),
    (&["trash", "empty", "good:v1"], NOT_FOUND),
    (&["trash", "empty", "Bad Name"], USAGE),
    (&["trash", "list", "all"], USAGE),
    (&["restore", "good:v1", "--from-trash"], NOT_FOUND),
    (&["restore", "Bad Name", "--from-trash"], USAGE),
    (&["stats", "unknown"], NOT_FOUND),
    (&["stats", "good:v1", "unknown"], NOT_FOUND),
    (&["stats", "Bad Name"], USAGE),
    (&["stats", "--by", "colour"], USAGE),
    (&["stats", "good:v1", "-A"], USAGE),
    (&["ttl", "unknown", "1d"], NOT_FOUND),
    (&["ttl", "good:v1", "soon"], USAGE),
    (&["ttl", "good:v1", "500years"], USAGE),
    (&["ttl", "good:v1"], USAGE),
    (&["ttl", "good:v1", "--unused", "soon"], USAGE),
    (&["ttl", "good:v1", "--unused", "default"], USAGE),
    (&["ttl", "good:v1", "--unused", "500years"], USAGE),
    (&["ttl", "unknown", "--unused", "1d"], NOT_FOUND),
    (&["create", "one", "--ttl-unused", "never"], USAGE),
    (&["create", "one", "--ttl-unused", "0"], USAGE),
    (&["create", "one", "--ttl-unused", "500years"], USAGE),
    (&["tag", "unknown", "a:v1"], NOT_FOUND),
    (&["tag", "good:v1", "Bad"], USAGE),
    (&["tag", "good:v1"], USAGE),
    (&["tag", "good:v1", "good:7"], USAGE),
    (&["tag", "good:v1", "good:latest", "--immutable"], USAGE),
    (&["tag", "folder:v1", "new:v1", "kept:v1"], CONFLICT),
    (&["untag", "good:v9"], NOT_FOUND),
    (&["untag", "good:1"], USAGE),
    (&["untag", "kept:v1"], CONFLICT),
    (&["remove", "kept:v1"], CONFLICT),
    (&["create", "one", "--name", "good:7"], USAGE),
    (&["create", "one", "--name", "kept:v1"], CONFLICT),
    (&["show", "good:9"], NOT_FOUND),
    (&["history", "unknown"], NOT_FOUND),
    (&["history", "good:v1"], USAGE),
    (&["history", "Bad Name"], USAGE),
    (&["history", "unknown", "--moves"], NOT_FOUND),
    (&["rollback", "unknown"], NOT_FOUND),
    (&["rollback", "good"], CONFLICT),
    (&["rollback", "good", "9"], NOT_FOUND),
    (&["rollback", "good", "0"], NOT_FOUND),
    (&["rollback", "good", "first"], USAGE),
    (&["rollback", "good:v1"], USAGE),
    (&["rollback", "good", "--undo"], CONFLICT),
    (&["rollback", "good", "1", "--undo"], USAGE),
    (&["forget"], USAGE),
    (&["forget", "good"], USAGE),
    (&["forget", "--keep-last", "1"], USAGE),
    (&["forget", "good", "--keep-last", "0"], USAGE),
    (&["forget", "good", "--keep-last", "-1"], USAGE),
    (&["forget", "good", "--keep-daily", "many"], USAGE),
    (&["forget", "good", "--keep-within", "soon"], USAGE),
    (&["forget", "good", "--keep-within", "0s"], USAGE),
    (&["forget", "good", "--keep-within", "500years"], USAGE),
    (
        &["forget", "good", "--all-names", "--keep-last", "1"],
        USAGE,
    ),
    (&["forget", "good:v1", "--keep-last", "1"], USAGE),
    (&["forget", "Bad Name", "--keep-last", "1"], USAGE),
    (&["forget", "unknown", "--keep-last", "1"], NOT_FOUND),
    (
        &["forget", "good", "unknown", "--keep-last", "1"],
        NOT_FOUND,
    ),
    (&["auto"], USAGE),
    (&["auto", "set", "good", "--schedule", "daily"], USAGE),
    (&["auto", "set", "good", "--container", "one"], USAGE),
    (
        &[
            "auto",
            "set",
            "good",
            "--container",
            "one",
            "--schedule",
            "soon",
        ],
        USAGE,
    ),
    (
        &[
            "auto",
            "set",
            "good",
            "--container",
            "one",
            "--schedule",
            "",
        ],
        USAGE,
    ),
    (
        &[
            "auto",
            "set",
            "good",
            "--container",
            "one",
            "--schedule",
            "*-02-30",
        ],
        USAGE,
    ),
    (
        &[
            "auto",
            "set",
            "good:v1",
            "--container",
            "one",
            "--schedule",
            "daily",
        ],
        USAGE,
    ),
    (
        &[
            "auto",
            "set",
            "Bad Name",
            "--container",
            "one",
            "--schedule",
            "daily",
        ],
        USAGE,
    ),
    (
        &[
            "auto",
            "set",
            "good",
            "--container",
            "not an id",
            "--schedule",
            "daily",
        ],
        USAGE,
    ),
    (
        &[
            "auto",
            "set",
            "good",
            "--path",
            "DATA",
            "--memory",
            "--schedule",
            "daily",
        ],
        USAGE,
    ),
    (&["auto", "remove", "good"], NOT_FOUND),
    (&["policy"], USAGE),
    (&["policy", "set", "good"], USAGE),
    (&["policy", "set", "good", "--keep-last", "0"], USAGE),
    (&["policy", "set", "good:v1", "--keep-last", "1"], USAGE),
    (&["policy", "set", "Bad Name", "--keep-last", "1"], USAGE),
    (&["policy", "show", "good"], NOT_FOUND),
    (&["policy", "show", "good:v1"], USAGE),
    (&["policy", "remove", "good"], NOT_FOUND),
    (&["template"], USAGE),
    (&["template", "build"], USAGE),
    (&["template", "build", "DATA/nothing"], NOT_FOUND),
    (&["template", "build", "DATA/file"], USAGE),
    (&["template", "build", "DATA/unknown-field.toml"], USAGE),
    (&["template", "build", "DATA/no-image.toml"], NOT_FOUND),
    (&["template", "build", "DATA/no-source.toml"], NOT_FOUND),
    (
        &["template", "build", "DATA/no-repository.toml"],
        UNAVAILABLE,
    ),
    (&["template", "build", "DATA/on-folder.toml"], CONFLICT),
    (
        &["template", "build", "DATA/no-image.toml", "--branch", "b"],
        USAGE,
    ),
    (
        &[
            "template",
            "build",
            "DATA/no-image.toml",
            "--repository",
            "r",
        ],
        USAGE,
    ),
    (
        &["template", "build", "DATA/no-image.toml", "--name", "Bad"],
        USAGE,
    ),
    (
        &["template", "build", "DATA/no-image.toml", "--name", "a:b"],
        USAGE,
    ),
    (
        &[
            "template",
            "build",
            "DATA/no-image.toml",
            "--version",
            "{x}",
        ],
        USAGE,
    ),
    (
        &["template", "build", "DATA/no-image.toml", "--dry-run"],
        NOT_FOUND,
    ),
    (&["template", "refresh", "unknown"], NOT_FOUND),
    (&["template", "show", "unknown"], NOT_FOUND),
    (&["template", "show", "good:v1"], USAGE),
    (&["template", "remove", "unknown"], NOT_FOUND),
    (&["run", "unknown"], NOT_FOUND),
    (&["run", "good"], NOT_FOUND),
    (&["run", "good:v1"], USAGE),
    (
        &["run", "unknown", "--file", "DATA/unknown-field.toml"],
        USAGE,
    ),
    (
        &["run", "unknown", "--file", "DATA/no-image.toml"],
        NOT_FOUND,
    ),
    (&["run", "unknown", "--count", "0"], USAGE),
    (&["run", "unknown", "--file", "x", "--no-build"], USAGE),
    (&["label", "good:v1", "snapshotd.io/step=x"], USAGE),
    (&["label", "good:v1", "snapshotd.io/volume=x"], USAGE),
    (&["volume"], USAGE),
    (&["volume", "create", "vol"], CONFLICT),
    (&["volume", "create", "Bad Name"], USAGE),
    (&["volume", "create", "a:v1"], USAGE),
    (&["volume", "list", "unknown"], NOT_FOUND),
    (&["volume", "list", "vol", "/no/such/path"], NOT_FOUND),
    (&["volume", "put", "unknown", "DATA"], NOT_FOUND),
    (&["volume", "put", "vol"], USAGE),
    (&["volume", "put", "vol", "DATA/nothing"], NOT_FOUND),
    (&["volume", "put", "vol", "DATA", "--to", "/a/../b"], USAGE),
    (&["volume", "put", "vol", "DATA", "--owner", "me"], USAGE),
    (&["volume", "put", "vol", "/"], USAGE),
    (
        &["volume", "get", "vol", "/no/such/path", "EMPTY/x"],
        NOT_FOUND,
    ),
    (&["volume", "remove", "vol"], USAGE),
    (&["volume", "remove", "vol", "/"], USAGE),
    (&["volume", "remove", "vol", "/no/such/path"], NOT_FOUND),
    (&["volume", "remove", "unknown", "--yes"], NOT_FOUND),
    (&["volume", "mount", "unknown", "EMPTY"], NOT_FOUND),
    (&["volume", "mount", "vol", "DATA/file"], USAGE),
    (
        &["volume", "commit", "vol", "--container", "one"],
        NOT_FOUND,
    ),
    (&["volume", "commit", "vol"], USAGE),
    (
        &["volume", "reload", "vol", "--container", "not an id"],
        USAGE,
    ),
    (&["restore", "good:v1", "--volume", "unknown:/x"], NOT_FOUND),
    (&["restore", "good:v1", "--volume", "vol"], USAGE),
    (&["restore", "good:v1", "--volume", "vol:/"], USAGE),
    (&["restore", "good:v1", "--volume", "vol:/proc/x"], USAGE),
    (&["restore", "good:v1", "--volume", "vol:/dev"], USAGE),
    (&["restore", "good:v1", "--volume", "vol:/a/../b"], USAGE),
    (&["restore", "good:v1", "--mount", "unknown:/x"], NOT_FOUND),
    (&["restore", "good:v1", "--mount", "good:v1"], USAGE),
    (
        &["restore", "good:v1", "--mount", "good:v1:/no/such:/x"],
        NOT_FOUND,
    ),
    (
        &["restore", "good:v1", "--mount", "expired:v1:/x"],
        CONFLICT,
    ),
    (&["pin", "unknown"], NOT_FOUND),
    (&["unpin", "unknown"], NOT_FOUND),
    (&["remove", "pinned:v1"], CONFLICT),
    (&["remove", "pinned:v1", "--force"], CONFLICT),
    (&["label", "unknown", "a=b"], NOT_FOUND),
    (&["label", "good:v1", "novalue"], USAGE),
    (&["tree", "good:v1", "/no/such/path"], NOT_FOUND),
    (&["tree", "unknown", "/"], NOT_FOUND),
    (&["diff", "good:v1", "unknown"], NOT_FOUND),
    (&["copy", "good:v1", "EMPTY/x"], USAGE),
    (&["copy", "good:v1:/etc", "good:/x"], USAGE),
    (&["copy", "DATA/file", "good:v1:/x"], USAGE),
    (&["copy", "DATA/file", "good:/"], USAGE),
    (&["copy", "DATA/file", "good:/a/../b"], USAGE),
    (&["copy", "DATA/file", "good:/bin/sh/x"], CONFLICT),
    (&["copy", "DATA/nothing", "good:/x"], NOT_FOUND),
    (&["copy", "DATA/file", "unknown:/x"], NOT_FOUND),
    (&["copy", "DATA/file", "Bad:/x"], USAGE),
    (&["copy", "/dev/null", "good:/x"], USAGE),
    (&["copy", "STORE", "good:/x"], USAGE),
    (&["copy", "good:v1:/no/such/path", "EMPTY/x"], NOT_FOUND),
    (&["copy", "good:v1:/etc", "DATA"], CONFLICT),
    (&["copy", "good:v1:/etc", "EMPTY/nothing/x"], NOT_FOUND),
    (&["verify", "unknown"], NOT_FOUND),
    (&["jobs", "wait", "unknown"], NOT_FOUND),
    (&["jobs", "cancel", "unknown"], NOT_FOUND),
    (&["jobs", "show", "unknown"], NOT_FOUND),
    (&["jobs", "show"], USAGE),
    (&["events", "--since", "yesterday"], USAGE),
    (&["events", "--filter", "colour=red"], USAGE),
    (&["events", "--filter", "create"], USAGE),
    (&["events", "--lines", "-1"], USAGE),
    (&["start", "one"], NOT_FOUND),
    (&["stop", "unknown"], NOT_FOUND),
    (&["container", "remove", "one"], NOT_FOUND),
    (&["--namespace", "a..b", "list"], USAGE),
    (&["--namespace", "", "list"], USAGE),
    (&["explode"], USAGE),
    (&["list", "--output", "xml"], USAGE),
    (&["list", "--filter", "colour=red"], USAGE),
    (&["list", "--filter", "state=gone"], USAGE),
    (&["list", "--filter", "state=active,created>soon"], USAGE),
    (&["list", "--filter", "size<lots"], USAGE),
    (&["list", "--filter", ""], USAGE),
    (&["list", "--sort", "colour"], USAGE),
    (&["list", "--sort", "name:up"], USAGE),
    (&["list", "--limit", "0"], USAGE),
];

/// Everything that must not change: snapshots, containers, mounts, and what the store holds.
fn state(host: &Host) -> Result<String> {
    let mut lines = vec![host.snap(&["list", "--all-namespaces", "--output", "json"])?];
    lines.push(format!("{:?} {:?}", host.containers()?, host.our_mounts()?));
    for folder in ["packs", "manifests", "index", "drafts", "containers"] {
        let mut names = Vec::new();
        for entry in fs::read_dir(host.root().join(folder)).into_iter().flatten() {
            names.push(entry?.file_name());
        }
        names.sort();
        lines.push(format!("{folder}: {names:?}"));
    }
    Ok(lines.join("\n"))
}

/// A host with a container and a snapshot in every state a case asks for.
fn host_with_everything() -> Result<Host> {
    let host = Host::start()?;
    for name in ["DATA", "EMPTY", "MOUNTED"] {
        host.make_folder(name)?;
    }
    fs::write(host.folder().join("DATA/file"), "content")?;
    write_templates(&host)?;
    for id in ["one", "halted"] {
        host.run_idle(id, Image::Busybox)?;
    }
    host.kill_task("halted")?;
    host.ctr(&["container", "create", Image::Busybox.name(), "taskless"])?
        .ok()?;
    host.snap(&["create", "one", "--name", "good:v1"])?;
    host.snap(&["volume", "create", "vol"])?;
    host.snap(&["create", "one", "--name", "expired:v1", "--ttl", "1s"])?;
    host.snap(&[
        "create",
        "--path",
        &folder(&host, "DATA"),
        "--name",
        "folder:v1",
    ])?;
    host.snap(&["create", "one", "--name", "pinned:v1"])?;
    host.snap(&["pin", "pinned"])?;
    host.snap(&["tag", "pinned", "kept:v1", "--immutable"])?;
    host.snap(&["mount", "good:v1", &folder(&host, "MOUNTED")])?;
    std::thread::sleep(Duration::from_millis(1500));
    Ok(host)
}

/// Templates that cannot be built, each for a reason of its own.
fn write_templates(host: &Host) -> Result<()> {
    let image = "base = { image = \"snap.test/no/such:1\" }";
    let busybox = format!("base = {{ image = \"{}\" }}", Image::Busybox.name());
    let cases = [
        ("unknown-field", format!("{image}\ncolour = 1")),
        ("no-image", image.to_owned()),
        (
            "no-source",
            format!("{busybox}\nsteps = [{{ copy = {{ from = \"none\", to = \"/x\" }} }}]"),
        ),
        (
            "no-repository",
            format!("{busybox}\nsteps = [{{ git = {{ repository = \"./none\", to = \"/x\" }} }}]"),
        ),
        (
            "on-folder",
            "base = { snapshot = \"folder:v1\" }".to_owned(),
        ),
    ];
    for (name, text) in cases {
        let file = host.folder().join("DATA").join(format!("{name}.toml"));
        fs::write(file, format!("name = \"new\"\n{text}\n"))?;
    }
    Ok(())
}

fn folder(host: &Host, name: &str) -> String {
    host.folder().join(name).to_string_lossy().into_owned()
}

fn in_place(host: &Host, argument: &str) -> String {
    if argument == "STORE" {
        return host.root().to_string_lossy().into_owned();
    }
    let name = argument.split('/').next().unwrap_or_default();
    if ["DATA", "EMPTY", "MOUNTED"].contains(&name) {
        return folder(host, argument);
    }
    argument.to_owned()
}

#[test]
fn every_wrong_request_has_its_exit_code_and_changes_nothing() -> Result<()> {
    let host = host_with_everything()?;
    let before = state(&host)?;
    let mut wrong = Vec::new();
    for (arguments, expected) in CASES {
        let answer = host.snapctl(arguments.iter().map(|argument| in_place(&host, argument)))?;
        if answer.code != *expected {
            wrong.push(format!("{} instead of {expected}: {answer:?}", answer.code));
        }
        if answer.stderr.is_empty() {
            wrong.push(format!("nothing was said: {answer:?}"));
        }
        if state(&host)? != before {
            wrong.push(format!(
                "the state changed: {answer:?}\n{before}\n{}",
                state(&host)?
            ));
        }
    }
    assert!(CASES.len() >= 40);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn without_containerd_only_what_needs_it_fails() -> Result<()> {
    let host = Host::start()?;
    host.run_idle("one", Image::Busybox)?;
    host.snap(&["create", "one", "--name", "site"])?;
    host.kill_containerd()?;
    for arguments in [["create", "one"], ["restore", "site"]] {
        let answer = host.snapctl(arguments)?;
        assert_eq!(answer.code, UNAVAILABLE, "{answer:?}");
    }
    host.snap(&["show", "site"])?;
    let data = host.make_folder("data")?;
    host.snap(&["create", "--path", &data.to_string_lossy()])?;
    host.start_containerd()?;
    host.snap(&["restore", "site", "--id", "two"])?;
    assert_eq!(host.exec("two", "echo runs")?, "runs");
    Ok(())
}

#[test]
fn a_shim_that_says_nothing_is_not_taken_for_a_container_that_has_ended() -> Result<()> {
    let host = Host::start()?;
    host.run_idle("one", Image::Busybox)?;
    host.snap(&["create", "one", "--name", "site"])?;
    host.snap(&["restore", "site", "--id", "two"])?;
    for id in ["one", "two"] {
        signal(&host, id, Signal::SIGSTOP)?;
    }
    let before = state(&host)?;
    let answer = host.snapctl(["create", "one"])?;
    assert_eq!(answer.code, UNAVAILABLE, "{answer:?}");
    assert!(
        answer.stderr.contains("its shim does not answer"),
        "{answer:?}"
    );
    let answer = host.snapctl(["container", "stop", "two"])?;
    assert_eq!(answer.code, UNAVAILABLE, "{answer:?}");
    let listed: Vec<ContainerView> = host
        .snapctl(["--output", "json", "container", "list"])?
        .json()?;
    assert_eq!(listed[0].status, "unknown");
    assert_eq!(state(&host)?, before);
    for id in ["one", "two"] {
        signal(&host, id, Signal::SIGCONT)?;
    }
    host.snap(&["create", "one"])?;
    assert_eq!(host.exec("two", "echo runs")?, "runs");
    Ok(())
}

fn signal(host: &Host, id: &str, signal: Signal) -> Result<()> {
    kill(Pid::from_raw(host.shim(id)?.cast_signed()), signal).context("Signal a shim")
}

#[test]
fn nobody_but_root_and_the_group_may_use_the_socket() -> Result<()> {
    let host = Host::start()?;
    fs::set_permissions(host.folder(), fs::Permissions::from_mode(0o755))?;
    let answer = host.snapctl_as_nobody(&["list"])?;
    assert_eq!(answer.code, DENIED, "{answer:?}");
    Ok(())
}

#[test]
fn the_host_s_own_files_are_for_root_alone_whoever_may_use_the_socket() -> Result<()> {
    let host = Host::start()?;
    let data = host.make_folder("data")?;
    let data = data.to_string_lossy();
    host.let_everybody_in()?;
    assert_eq!(host.snapctl_as_nobody(&["list"])?.code, 0);
    host.snap(&["create", "--path", &data, "--name", "data"])?;
    for arguments in [
        ["create", "--path", &data],
        ["mount", "data", &data],
        ["copy", "data:/", "/tmp/x"],
        ["copy", &data, "data:/x"],
    ] {
        let answer = host.snapctl_as_nobody(&arguments)?;
        assert_eq!(answer.code, DENIED, "{answer:?}");
    }
    Ok(())
}

#[test]
fn no_daemon_is_unavailable() -> Result<()> {
    let mut host = Host::start()?;
    host.take_daemon()?.stop()?;
    assert_eq!(host.snapctl(["list"])?.code, UNAVAILABLE);
    Ok(())
}

#[test]
fn the_limit_of_a_namespace_holds() -> Result<()> {
    let host = Host::start_with(&HostOptions {
        config: "snapshots_per_namespace = 2\n".to_owned(),
        ..HostOptions::default()
    })?;
    let data = host.make_folder("data")?;
    let data = data.to_string_lossy().into_owned();
    let first = host.snap(&["create", "--path", &data, "--quiet"])?;
    host.snap(&["create", "--path", &data])?;
    let answer = host.snapctl(["create", "--path", &data])?;
    assert_eq!(answer.code, LIMIT, "{answer:?}");
    host.snap(&["--namespace", "other", "create", "--path", &data])?;
    host.snap(&["remove", &first])?;
    host.snap(&["create", "--path", &data])?;
    Ok(())
}

#[test]
fn a_full_disk_ends_the_capture_and_spares_what_is_there() -> Result<()> {
    let disk = LoopFolder::new("ext4", 96 << 20)?;
    let mut host = Host::start_with(&HostOptions {
        config: "reserve_bytes = 0\n".to_owned(),
        root: Some(disk.path().join("store")),
        ..HostOptions::default()
    })?;
    let (small, large) = (host.make_folder("small")?, host.make_folder("large")?);
    fs::write(small.join("file"), "content")?;
    noise(&large.join("file"), 200 << 20)?;
    host.snap(&[
        "create",
        "--path",
        &small.to_string_lossy(),
        "--name",
        "small:v1",
    ])?;
    let answer = host.snapctl(["create", "--path", &large.to_string_lossy()])?;
    assert_eq!(answer.code, UNAVAILABLE, "{answer:?}");
    host.take_daemon()?.stop()?;
    host.start_daemon()?;
    host.snap(&["verify", "small:v1"])?;
    host.snap(&[
        "create",
        "--path",
        &small.to_string_lossy(),
        "--name",
        "small:v2",
    ])?;
    Ok(())
}

#[test]
fn the_reserve_of_the_disk_is_kept() -> Result<()> {
    let host = Host::start_with(&HostOptions {
        config: "reserve_bytes = 1000000000000000\n".to_owned(),
        ..HostOptions::default()
    })?;
    let data = host.make_folder("data")?;
    let answer = host.snapctl(["create", "--path", &data.to_string_lossy()])?;
    assert_eq!(answer.code, UNAVAILABLE, "{answer:?}");
    Ok(())
}
