//! Whatever is asked wrongly, or goes wrong around the daemon, ends with its own error and exit code, and changes nothing.

mod cases;

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use anyhow::{Context, Result};
use cases::{CASES, DENIED, LIMIT, UNAVAILABLE};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use snap_api::ContainerView;
use snap_tests::{Host, HostOptions, Image, LoopFolder, noise};

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
    for name in ["DATA", "EMPTY", "MOUNTED", "USED"] {
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
    // What is used is not removed by the first look for what has expired, which comes a minute after the start.
    host.snap(&["mount", "--force", "expired:v1", &folder(&host, "USED")])?;
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
