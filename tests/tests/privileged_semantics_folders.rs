//! docs/semantics.md: folders of the host, captured, mounted and copied out; and what verifying finds.

use std::{
    collections::BTreeSet, fs, io::ErrorKind, os::unix::fs::PermissionsExt, path::Path,
    process::Command,
};

use anyhow::{Context, Result};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use snap_api::{SnapshotState, Verified};
use snap_tests::{Host, HostOptions, LoopFolder, noise, text, wait_for};

const CONFLICT: i32 = 4;
const CORRUPT: i32 = 8;
const CANCELLED: i32 = 10;

/// **N5** With `--path`, what is mounted below the folder: the folder it is mounted on is there, empty, and a warning
/// names it.
#[test]
fn what_is_mounted_below_a_folder_is_left_out_and_named() -> Result<()> {
    let host = Host::start_without_containerd("")?;
    let data = host.make_folder("data")?;
    let below = data.join("inner/below");
    fs::create_dir_all(&below)?;
    fs::write(data.join("inner/kept"), "kept")?;
    run("mount", &["-t", "tmpfs", "tmpfs", text(&below)?])?;
    fs::write(below.join("file"), "not kept")?;
    let created = host.capture(&data, &["--name", "data"]);
    run("umount", &[text(&below)?])?;
    let warnings = created?.warnings;
    assert!(
        warnings
            .iter()
            .any(|warning| warning.contains("inner/below")),
        "{warnings:?}"
    );
    assert_eq!(
        host.paths_in("data", "/inner")?,
        ["/inner/below", "/inner/kept"]
    );
    Ok(())
}

/// **N6** Nodes that match `--exclude`, and everything below a folder that does. The patterns are gitignore's without
/// negation: `*` and `?` match within a name, `**` as a whole component any number of folders; a pattern with a `/` at
/// its beginning or within is anchored at the root, any other matches at every depth; a `/` at the end matches folders
/// alone.
#[test]
fn patterns_leave_out_what_is_documented() -> Result<()> {
    let host = Host::start_without_containerd("")?;
    let data = host.make_folder("data")?;
    let files = [
        "a.tmp",
        "b/c.tmp",
        "build/file",
        "b/build/file",
        "logs/file",
        "b/logs",
        "x/1/2/core/file",
        "x/core",
        "one",
        "b/one",
        "f1",
        "f22",
        "b/f3",
        "kept",
    ];
    for file in files {
        let path = data.join(file);
        fs::create_dir_all(path.parent().expect("it lies in the folder"))?;
        fs::write(path, file)?;
    }
    let patterns = ["*.tmp", "/build", "logs/", "x/**/core/", "b/one", "f?"];
    let flags = patterns.iter().flat_map(|pattern| ["--exclude", pattern]);
    let flags: Vec<&str> = flags.chain(["--name", "data"]).collect();
    host.capture(&data, &flags)?;
    let expected = [
        "/b",
        "/b/build",
        "/b/build/file",
        "/b/logs",
        "/f22",
        "/kept",
        "/one",
        "/x",
        "/x/1",
        "/x/1/2",
        "/x/core",
    ];
    assert_eq!(host.paths_in("data", "/")?, expected);
    Ok(())
}

/// **N7** Inode flags (`chattr`), quotas and project ids.
#[test]
fn inode_flags_are_not_kept() -> Result<()> {
    let disk = LoopFolder::new("ext4", 64 << 20)?;
    let host = Host::start_with(&HostOptions {
        without_containerd: true,
        parent: Some(disk.path().to_owned()),
        config: "reserve_bytes = 0\n".to_owned(),
        ..HostOptions::default()
    })?;
    let data = host.make_folder("data")?;
    fs::write(data.join("file"), "unchangeable")?;
    let file = data.join("file");
    run("chattr", &["+i", text(&file)?])?;
    let copy = host.folder().join("copy");
    let copied = host
        .capture(&data, &["--name", "data"])
        .and_then(|_| host.snap(&["copy", "data:/file", text(&copy)?]));
    run("chattr", &["-i", text(&file)?])?;
    copied?;
    fs::write(&copy, "changeable")?;
    Ok(())
}

/// **F3** A mount lasts until `snapctl unmount` or the next boot; the daemon's end does not end it.
#[test]
fn a_mount_ends_with_unmount_or_a_reboot_and_not_with_the_daemon() -> Result<()> {
    let mut host = Host::start_without_containerd("")?;
    let data = host.make_folder("data")?;
    fs::write(data.join("file"), "content")?;
    host.capture(&data, &["--name", "data"])?;
    let mounted = host.mount("data", "mounted", &["--writable"])?;
    let other = host.mount("data", "other", &[])?;
    fs::write(mounted.join("new"), "new")?;
    host.take_daemon()?.stop()?;
    assert_eq!(fs::read_to_string(mounted.join("file"))?, "content");
    host.start_daemon()?;
    assert_eq!(fs::read_to_string(mounted.join("new"))?, "new");
    host.snap(&["unmount", text(&other)?])?;
    assert!(!other.join("file").exists());
    host.power_off(&[&mounted])?;
    host.start_daemon()?;
    assert!(!mounted.join("file").exists());
    assert!(host.show("data")?.mounted_at.is_empty());
    host.snap(&["remove", "data"])?;
    Ok(())
}

/// **F4** A folder in use cannot be unmounted: that is a conflict, and the mount stays.
#[test]
fn a_folder_in_use_stays_mounted() -> Result<()> {
    let host = Host::start_without_containerd("")?;
    let data = host.make_folder("data")?;
    fs::write(data.join("file"), "content")?;
    host.capture(&data, &["--name", "data"])?;
    for (name, flags) in [("read-only", &[][..]), ("writable", &["--writable"])] {
        let mounted = host.mount("data", name, flags)?;
        let held = fs::File::open(mounted.join("file"))?;
        assert_eq!(host.snapctl(["unmount", text(&mounted)?])?.code, CONFLICT);
        assert_eq!(fs::read_to_string(mounted.join("file"))?, "content");
        drop(held);
        host.snap(&["unmount", text(&mounted)?])?;
    }
    Ok(())
}

/// **F5** Set-user-id bits and devices are shown in a mounted folder, read-only or writable, and have no effect there;
/// who may reach the folder is the business of whoever mounts it.
#[test]
fn set_user_id_bits_and_devices_have_no_effect_in_a_mounted_folder() -> Result<()> {
    let host = Host::start_without_containerd("")?;
    let data = host.make_folder("data")?;
    fs::copy("/usr/bin/id", data.join("id"))?;
    fs::set_permissions(data.join("id"), fs::Permissions::from_mode(0o4755))?;
    let null = makedev(1, 3);
    mknod(
        &data.join("null"),
        SFlag::S_IFCHR,
        Mode::from_bits_truncate(0o666),
        null,
    )?;
    host.capture(&data, &["--name", "data"])?;
    fs::set_permissions(host.folder(), fs::Permissions::from_mode(0o755))?;
    for (name, flags) in [("read-only", &[][..]), ("writable", &["--writable"])] {
        let mounted = host.mount("data", name, flags)?;
        let mode = fs::metadata(mounted.join("id"))?.permissions().mode();
        assert_eq!(mode & 0o7777, 0o4755);
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .args([mounted.join("id").as_os_str(), "-u".as_ref()])
            .output()?;
        assert_eq!(String::from_utf8(output.stdout)?.trim(), "65534", "{name}");
        let refused = fs::read(mounted.join("null")).expect_err("it is no device here");
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "{name}");
    }
    Ok(())
}

/// **F6** `snapctl copy` writes everything H1 to H11 say; when it fails or is cancelled, nothing of it is left.
#[test]
fn a_copy_that_fails_or_is_cancelled_leaves_nothing() -> Result<()> {
    let host = Host::start_without_containerd("")?;
    let data = host.make_folder("data")?;
    fs::create_dir(data.join("inner"))?;
    fs::write(data.join("inner/first"), "content")?;
    noise(&data.join("large"), 150 << 20)?;
    host.capture(&data, &["--name", "data"])?;
    let before = entries(host.folder())?;
    let copy = host.folder().join("copy");
    let job = host.snap(&["copy", "data:/", text(&copy)?, "--detach", "--quiet"])?;
    wait_for(
        "the copy to begin",
        std::time::Duration::from_secs(20),
        || Ok((entries(host.folder())? != before).then_some(())),
    )?;
    host.snap(&["jobs", "cancel", &job])?;
    assert_eq!(host.snapctl(["jobs", "wait", &job])?.code, CANCELLED);
    assert_eq!(entries(host.folder())?, before);
    damage_packs(&host, Damage::Flip)?;
    assert_eq!(
        host.snapctl(["copy", "data:/", text(&copy)?])?.code,
        CORRUPT
    );
    assert_eq!(entries(host.folder())?, before);
    Ok(())
}

/// **V1** `snapctl verify` reads every chunk a snapshot needs, compares it with its digest, and lists every path that
/// is hit with the bytes that are lost; with `--quick` it looks whether each is there. Without a snapshot it reads
/// everything in the store, of every namespace, each chunk once.
/// **V2** Damage is reported and nothing else: verifying changes nothing.
#[test]
fn verifying_lists_what_is_hit_and_changes_nothing() -> Result<()> {
    let mut host = Host::start_without_containerd("")?;
    let data = host.make_folder("data")?;
    for file in ["one", "two"] {
        noise(&data.join(file), 500_000)?;
    }
    fs::write(data.join("empty"), "")?;
    host.capture(&data, &["--name", "data"])?;
    let look = |host: &Host, flags: &[&str]| -> Result<(i32, Vec<String>)> {
        let answer = host.snapctl([&["--output", "json", "verify", "data"], flags].concat())?;
        let verified: Verified = serde_json::from_str(&answer.stdout)?;
        let paths = verified.damage.iter().filter_map(|one| one.path.as_ref());
        // A large file may be hit at several places.
        let paths: BTreeSet<String> = paths.map(ToString::to_string).collect();
        Ok((answer.code, paths.into_iter().collect()))
    };
    let both = vec!["/one".to_owned(), "/two".to_owned()];
    assert_eq!(look(&host, &[])?, (0, Vec::new()));
    damage_packs(&host, Damage::Flip)?;
    let (files, listed) = (host.stored_files()?, host.snap(&["list", "-o", "json"])?);
    assert_eq!(look(&host, &[])?, (CORRUPT, both.clone()));
    assert_eq!(
        look(&host, &["--quick"])?,
        (0, Vec::new()),
        "each chunk is there"
    );
    let everything = host.snapctl(["--namespace", "other", "--output", "json", "verify"])?;
    let verified: Verified = serde_json::from_str(&everything.stdout)?;
    // Into how many packs threads put their chunks is chance.
    let packs: Vec<_> = verified.packs.iter().map(|one| &one.pack).collect();
    assert_eq!((everything.code, packs.is_empty()), (CORRUPT, false));
    for damage in &verified.damage {
        let (offset, length) = (damage.offset_bytes, damage.length_bytes);
        assert!(
            offset
                .zip(length)
                .is_some_and(|(offset, length)| offset + length <= 500_000)
        );
        assert!(
            damage
                .pack
                .as_ref()
                .is_some_and(|pack| packs.contains(&pack))
        );
    }
    assert_eq!(
        (host.stored_files()?, host.snap(&["list", "-o", "json"])?),
        (files, listed)
    );
    damage_packs(&host, Damage::Remove)?;
    // A daemon that had the pack open still has it.
    host.take_daemon()?.stop()?;
    host.start_daemon()?;
    assert_eq!(look(&host, &["--quick"])?, (CORRUPT, both));
    Ok(())
}

/// **V3** With `create --verify` a snapshot becomes active only after everything it holds has been read back.
#[test]
fn a_verified_snapshot_is_active_only_when_all_was_read_back() -> Result<()> {
    let host = Host::start_without_containerd("")?;
    let data = host.make_folder("data")?;
    noise(&data.join("file"), 500_000)?;
    host.capture(&data, &["--name", "data:v1", "--verify"])?;
    damage_packs(&host, Damage::Flip)?;
    let answer = host.snapctl([
        "create",
        "--path",
        text(&data)?,
        "--name",
        "data:v2",
        "--verify",
    ])?;
    assert_eq!(answer.code, CORRUPT, "{answer:?}");
    let all: Vec<snap_api::SnapshotView> = host.snap_json(&["list"])?;
    let failed = all.iter().find(|one| one.state == SnapshotState::Failed);
    let failed = failed.context("The second one failed")?;
    assert!(all.len() == 2 && failed.names.is_empty(), "{all:?}");
    assert_eq!(host.state_of("data:v1")?.0, SnapshotState::Active);
    Ok(())
}

/// **M3** A folder's snapshot has no such instant: nothing is paused, and files written during the capture may each be
/// of another moment.
#[test]
fn a_folder_is_captured_without_pausing_anybody() -> Result<()> {
    let host = Host::start_without_containerd("")?;
    let data = host.make_folder("data")?;
    noise(&data.join("bulk"), 20 << 20)?;
    let script = "cd $0; i=0; while :; do i=$((i+1)); echo $i > new; mv new count; done";
    let mut writer = Command::new("sh")
        .args(["-c", script, text(&data)?])
        .spawn()?;
    let status = format!("/proc/{}/status", writer.id());
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (created, was_stopped) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut was_stopped = false;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let text = fs::read_to_string(&status).unwrap_or_default();
                was_stopped |= text.contains("State:\tT") || text.contains("freez");
            }
            was_stopped
        });
        let created = host.capture(&data, &["--name", "data"]);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        (created, watch.join().expect("the watch does not panic"))
    });
    writer.kill()?;
    writer.wait()?;
    assert!(!was_stopped);
    assert_eq!(created?.pause_us, 0);
    let mounted = host.mount("data", "mounted", &[])?;
    let count: u64 = fs::read_to_string(mounted.join("count"))?.trim().parse()?;
    assert!(count > 0);
    assert!(fs::read(mounted.join("bulk"))? == fs::read(data.join("bulk"))?);
    Ok(())
}

#[derive(Clone, Copy)]
enum Damage {
    Flip,
    Remove,
}

/// Damages the pack that holds the files' content: the largest.
fn damage_packs(host: &Host, damage: Damage) -> Result<()> {
    let mut packs = host.stored_files()?;
    packs.retain(|(name, _)| name.ends_with(".pack"));
    let most = packs.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0);
    for (name, _) in packs.iter().filter(|(_, bytes)| *bytes > most / 4) {
        match damage {
            Damage::Remove => fs::remove_file(name)?,
            Damage::Flip => {
                let mut bytes = fs::read(name)?;
                for byte in bytes.iter_mut().skip(10_000).step_by(20_000) {
                    *byte ^= 1;
                }
                fs::write(name, bytes)?;
            }
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<String>> {
    let list = fs::read_dir(folder)?;
    let names = list.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output()?;
    snap_tests::Answer::new(format!("{program} {arguments:?}"), &output)
        .ok()
        .map(drop)
}
