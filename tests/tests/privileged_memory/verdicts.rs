//! What is said of a container while it runs, and that it was left alone for it.

use std::{fs, os::unix::net::UnixListener, thread};

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount, umount};
use snap_api::{Forecast, Verdict};
use snap_tests::{Host, Image, wait_for};

use crate::{LIMIT, UNAVAILABLE, create, goes_on, run_witness};

const IDLE: &str = "while :; do sleep 0.2; done";

/// Neither was anything frozen since the daemon began, nor was anything written for images.
fn was_left_alone(host: &Host) -> Result<()> {
    for folder in ["memory", "pauses"] {
        let path = host.state().join(folder);
        ensure!(!path.exists(), "{} is there", path.display());
    }
    Ok(())
}

/// `check` and a create that requires memory both name `kind`, and the container was left alone.
fn is_told(host: &Host, id: &str, kind: &str) -> Result<()> {
    let verdict: Verdict = host.snap_json(&["check", id])?;
    let told = verdict.blockers.iter().find(|one| one.kind == kind);
    let told = told.with_context(|| format!("No {kind} in {verdict:?}"))?;
    let refused = host.snapctl(["create", id, "--memory=required"])?;
    ensure!(refused.code == UNAVAILABLE, "{refused:?}");
    let first = &verdict.blockers[0];
    ensure!(refused.stderr.contains(&first.found), "{refused:?}");
    ensure!(told.hint.is_some(), "{told:?}");
    ensure!(host.task_status(id)?.as_deref() == Some("RUNNING"));
    was_left_alone(host)
}

/// A container that is like the others stands in nobody's way, in the same host.
fn plain_one_is_fine(host: &Host) -> Result<()> {
    host.run("plain", host.image(Image::Busybox)?, IDLE)?;
    let verdict: Verdict = host.snap_json(&["check", "plain", "--memory"])?;
    ensure!(verdict.blockers.is_empty(), "{verdict:?}");
    was_left_alone(host)
}

#[test]
fn a_terminal_is_told() -> Result<()> {
    let host = Host::start()?;
    host.run_with_terminal("one", host.image(Image::Busybox)?, IDLE)?;
    is_told(&host, "one", "terminal")?;
    plain_one_is_fine(&host)
}

#[test]
fn a_user_namespace_is_told() -> Result<()> {
    let host = Host::start()?;
    // The container's root is nobody here, and has to find its own.
    host.let_everybody_in()?;
    let maps = ["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"];
    host.run_with("one", host.image(Image::Busybox)?, IDLE, &maps)?;
    is_told(&host, "one", "user-namespace")
}

#[test]
fn a_namespace_within_the_container_is_told() -> Result<()> {
    let host = Host::start()?;
    let script = format!("unshare --uts sleep 1000 & {IDLE}");
    let image = host.image(Image::Busybox)?;
    host.run_with("one", image, &script, &["--privileged"])?;
    wait_for("the namespace", LIMIT, || {
        let verdict: Verdict = host.snap_json(&["check", "one"])?;
        Ok((!verdict.blockers.is_empty()).then_some(()))
    })?;
    is_told(&host, "one", "nested-namespace")
}

#[test]
fn a_mount_that_came_from_the_host_is_told_and_one_that_was_given_is_not() -> Result<()> {
    let host = Host::start()?;
    let shared = host.make_folder("shared")?;
    let none: Option<&str> = None;
    mount(
        Some("shared"),
        &shared,
        Some("tmpfs"),
        MsFlags::empty(),
        none,
    )?;
    let result = (|| {
        mount(none, &shared, none, MsFlags::MS_SHARED, none)?;
        let given = format!(
            "type=bind,src={},dst=/data,options=rbind:rslave",
            shared.display()
        );
        let image = host.image(Image::Busybox)?;
        host.run_with("one", image, IDLE, &["--mount", &given])?;
        let verdict: Verdict = host.snap_json(&["check", "one"])?;
        ensure!(verdict.blockers.is_empty(), "{verdict:?}");
        let below = shared.join("below");
        fs::create_dir(&below)?;
        mount(Some("below"), &below, Some("tmpfs"), MsFlags::empty(), none)?;
        let told = is_told(&host, "one", "shared-mount");
        umount(&below)?;
        told?;
        let verdict: Verdict = host.snap_json(&["check", "one"])?;
        ensure!(verdict.blockers.is_empty(), "{verdict:?}");
        host.remove_by_ctr("one")
    })();
    umount(&shared)?;
    result
}

#[test]
fn a_connection_to_a_unix_socket_of_the_host_is_told() -> Result<()> {
    let host = Host::start()?;
    let data = host.make_folder("data")?;
    let listener = UnixListener::bind(data.join("socket"))?;
    let accepting = thread::spawn(move || listener.accept());
    let given = format!(
        "type=bind,src={},dst=/data,options=rbind:rw",
        data.display()
    );
    let image = host.image(Image::Programs)?;
    let script = "exec python3 -c 'import socket, time
own = socket.socketpair()
outside = socket.socket(socket.AF_UNIX)
outside.connect(\"/data/socket\")
time.sleep(1000)'";
    host.run_with("one", image, script, &["--mount", &given])?;
    let accepted = accepting.join().ok().context("Accept")?;
    is_told(&host, "one", "unix-socket")?;
    drop(accepted);
    Ok(())
}

/// A device stands for a GPU here: drivers of those are devices of the host as well.
#[test]
fn a_device_of_the_host_is_told() -> Result<()> {
    let host = Host::start()?;
    let image = host.image(Image::Busybox)?;
    let script = format!("exec 3<> /dev/fuse; echo > /ready; {IDLE}");
    host.run_with("one", image, &script, &["--device", "/dev/fuse"])?;
    let ready = host.rootfs("one").join("ready");
    wait_for("the device", LIMIT, || Ok(ready.exists().then_some(())))?;
    is_told(&host, "one", "device")
}

/// **P16** `snapctl create --dry-run` makes nothing stand still and writes nothing: it says what `snapctl check` says, how large the
/// snapshot would be and for how long the container would stand still, and what each estimate rests on.
#[test]
fn a_dry_run_leaves_everything_alone_and_is_not_far_off() -> Result<()> {
    let host = Host::start()?;
    run_witness(&host, "one", "")?;
    let dry = ["create", "one", "--memory", "--dry-run", "--name", "new:v1"];
    let before: Forecast = host.snap_json(&dry)?;
    was_left_alone(&host)?;
    assert!(host.snap(&["list", "-q"])?.is_empty());
    assert!(
        before.rests_on.join(" ").contains("assumption"),
        "{before:?}"
    );
    let verdict = before.verdict.as_ref().context("No verdict")?;
    assert_eq!(verdict.blockers, []);
    assert!(before.nodes >= 3 && before.files_bytes > 0, "{before:?}");

    let created = create(&host, "one", &["--memory=required", "--name", "new:v1"])?;
    let images = created.snapshot.memory.context("No memory")?.bytes;
    let estimate = before.images_bytes.context("No estimate")?;
    assert!(
        estimate / 4 < images && images < estimate * 4,
        "{images} bytes, the estimate was {estimate}"
    );
    let after: Forecast = host.snap_json(&["create", "one", "--memory", "--dry-run"])?;
    let from = after.rests_on.join(" ");
    assert!(from.contains(&created.snapshot.id), "{from}");
    assert!(after.pause_us >= created.pause_us, "{after:?}");
    let folder = host.make_folder("folder")?;
    fs::write(folder.join("file"), vec![1; 1 << 20])?;
    let path = snap_tests::text(&folder)?;
    let of_folder: Forecast = host.snap_json(&["create", "--path", path, "--dry-run"])?;
    assert_eq!((of_folder.nodes, of_folder.pause_us), (1, 0));
    assert!(of_folder.verdict.is_none() && of_folder.files_bytes >= 1 << 20);
    let listed: Vec<snap_api::SnapshotView> = host.snap_json(&["list"])?;
    assert_eq!(listed.len(), 1);
    goes_on(&host.rootfs("one"))
}
