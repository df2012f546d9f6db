//! One folder of a running container as a snapshot of its own.

use std::fs;

use anyhow::{Context, Result};
use snap_api::{Created, SnapshotView};
use snap_tests::{Host, Image, LoopFolder, Tree, noise, text};

const CONFLICT: i32 = 4;
const NO_DIFFERENCE: Vec<String> = Vec::new();

/// A host with an idle container of this id, with further flags of `ctr run`.
fn host_with(id: &str, flags: &[&str]) -> Result<Host> {
    let host = Host::start()?;
    let image = host.image(Image::Busybox)?;
    let idle = "trap 'exit 0' TERM; while :; do sleep 0.2; done";
    host.run_with(id, image, idle, flags)?;
    Ok(host)
}

fn create(host: &Host, source: &str, flags: &[&str]) -> Result<Created> {
    host.snap_json(&[&["create", source][..], flags].concat())
}

/// **I1** `snapctl create CONTAINER:/PATH` captures one folder of a running container as the container sees it; what H1 to H12 say of a root
/// holds for the folder. It is the snapshot of a folder, and says which folder of which container it was taken of.
#[test]
fn i1_a_folder_of_a_container_is_captured_as_the_container_sees_it() -> Result<()> {
    let host = host_with("web", &[])?;
    // Of the image, changed, removed and replaced; and something that is in the writable layer alone.
    host.exec(
        "web",
        "rm /etc/group; echo more >> /etc/passwd; mkdir -p /etc/deep/er; ln /etc/passwd /etc/deep/link; \
         ln -s /etc/passwd /etc/deep/er/soft; echo outside > /outside; chmod 1751 /etc; rm -r /tmp; mkdir /tmp",
    )?;
    let created = create(&host, "web:/etc", &["--name", "etc"])?;
    assert!(
        created.pause_us > 0 && created.warnings.is_empty(),
        "{created:?}"
    );
    let seen = Tree::read(&host.rootfs("web").join("etc"))?.with_links_inside();
    let mounted = host.mount("etc", "mounted", &[])?;
    let held = Tree::read(&mounted)?;
    assert_eq!(seen.differences(&held), NO_DIFFERENCE);
    // A folder that the image alone has, and one that hides what the image has under its name.
    create(&host, "web:/root", &["--name", "root"])?;
    assert!(host.paths_in("root", "/")?.is_empty());
    create(&host, "web:/tmp", &["--name", "tmp"])?;
    assert!(host.paths_in("tmp", "/")?.is_empty());
    create(&host, "web:/", &["--name", "all"])?;
    let all = host.mount("all", "all", &[])?;
    let seen = Tree::read(&host.rootfs("web"))?.with_links_inside();
    assert_eq!(seen.differences(&Tree::read(&all)?), NO_DIFFERENCE);

    let shown = host.show("etc")?.snapshot;
    let of = shown
        .container_folder
        .context("It says what it was taken of")?;
    assert_eq!((of.container.as_str(), of.path.as_str()), ("web", "/etc"));
    assert!(!shown.is_container && shown.source == "web:/etc");
    let said = host.snap(&["show", "etc"])?;
    assert!(said.contains("folder /etc of container web"), "{said}");
    let found: Vec<SnapshotView> =
        host.snap_json(&["list", "--filter", "container=web,path=/etc"])?;
    assert_eq!(found.len(), 1);
    assert_eq!(host.snapctl(["restore", "etc"])?.code, CONFLICT);
    Ok(())
}

/// **I1** `snapctl create CONTAINER:/PATH` captures one folder of a running container as the container sees it; what H1 to H12 say of a root
/// holds for the folder. It is the snapshot of a folder, and says which folder of which container it was taken of.
#[test]
fn i1_a_folder_of_a_restored_container_is_captured_too() -> Result<()> {
    let host = host_with("web", &[])?;
    host.exec(
        "web",
        "mkdir /data; echo one > /data/one; echo two > /data/two",
    )?;
    host.snap(&["create", "web", "--name", "web"])?;
    host.snap(&["restore", "web", "--id", "clone"])?;
    host.exec("clone", "rm /data/one; echo three > /data/three")?;
    create(&host, "clone:/data", &["--name", "data"])?;
    assert_eq!(host.paths_in("data", "/")?, ["/three", "/two"]);
    create(
        &host,
        "clone:/data",
        &["--name", "less", "--exclude", "/two"],
    )?;
    assert_eq!(host.paths_in("less", "/")?, ["/three"]);
    Ok(())
}

/// **I2** Links in the path count from the root of the container, and none leads out of it. A folder at or below what is mounted in the
/// container is a conflict, unless that is a bind mount that `--include-mount` names.
#[test]
fn i1_no_path_leads_out_of_the_container_or_into_a_mount() -> Result<()> {
    let outside = LoopFolder::new("ext4", 16 << 20)?;
    fs::create_dir_all(outside.path().join("inner/deep"))?;
    fs::write(outside.path().join("inner/deep/file"), "bound")?;
    let bind = format!(
        "type=bind,src={},dst=/data,options=rbind:rw",
        outside.path().display()
    );
    let host = host_with("web", &["--mount", &bind])?;
    let secret = host.make_folder("secret")?;
    fs::write(secret.join("file"), "the host's")?;
    let script = format!(
        "mkdir -p /srv/real; echo inside > /srv/real/file; ln -s /srv /up; ln -s ../../../../srv/real /srv/link; \
         ln -s {} /out; ln -s /proc/1/root/srv /magic; ln -s {}/../.. /escape",
        text(&secret)?,
        text(&secret)?,
    );
    host.exec("web", &script)?;
    for (number, path) in ["/up/real", "/up/link", "/srv/link"]
        .into_iter()
        .enumerate()
    {
        let name = format!("v{number}");
        create(&host, &format!("web:{path}"), &["--name", &name])?;
        assert_eq!(host.paths_in(&name, "/")?, ["/file"], "{path}");
    }
    for path in ["/out", "/escape", "/srv/nothing"] {
        assert_eq!(
            host.snapctl(["create", &format!("web:{path}")])?.code,
            3,
            "{path}"
        );
    }
    for path in [
        "/magic",
        "/data",
        "/data/inner",
        "/proc/1",
        "/sys",
        "/dev/shm",
    ] {
        let answer = host.snapctl(["create", &format!("web:{path}")])?;
        assert_eq!(answer.code, CONFLICT, "{path}: {answer:?}");
    }
    create(
        &host,
        "web:/data/inner",
        &["--name", "bound", "--include-mount", "/data"],
    )?;
    assert_eq!(host.paths_in("bound", "/")?, ["/deep", "/deep/file"]);
    let above = create(&host, "web:/", &["--name", "above"])?;
    assert!(above.warnings[0].contains("/data"), "{above:?}");
    let beside = create(&host, "web:/srv", &["--name", "beside"])?;
    assert!(beside.warnings.is_empty(), "{beside:?}");
    Ok(())
}

/// **I3** The folder is as it was at one instant within the pause. What is in it is read, and nothing else of the container.
#[test]
fn i7_only_the_folder_is_read() -> Result<()> {
    let host = host_with("web", &[])?;
    noise(&host.rootfs("web").join("large"), 8 << 20)?;
    host.exec("web", "mkdir -p /srv/a; echo small > /srv/a/file")?;
    let first = create(&host, "web:/srv", &[])?;
    assert!(first.read_bytes < 1 << 20, "{first:?}");
    assert_eq!(first.snapshot.logical_bytes, 6);
    let whole = create(&host, "web", &["--name", "whole"])?;
    assert!(whole.read_bytes > 8 << 20, "{whole:?}");
    host.exec("web", "echo changed > /srv/a/file")?;
    let again = create(&host, "web:/srv/a", &["--name", "again"])?;
    assert!(again.read_bytes < 1 << 20, "{again:?}");
    assert_eq!(again.snapshot.nodes, 2);
    let dry = host.snap(&["create", "web:/srv", "--dry-run"])?;
    assert!(dry.contains("Nothing was changed"), "{dry}");
    Ok(())
}
