//! Memory with files: captured by CRIU within one pause, restored beside the original.
//!
//! The workload compares what it has in memory with its files before each step, so that a restored process itself finds out whether
//! both are of one instant (`tests/workloads/witness.c`).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use snap_api::{
    Check, CheckResult, ContainerView, Created, DoctorReport, MemoryView, Restored, SnapshotState,
    Verdict,
};
use snap_tests::{Dice, Host, Image, Tree, rounds, wait_for, workload};

const IMAGE: &str = "snap.test/witness:1";
/// Far longer than anything takes that is waited for.
const LIMIT: Duration = Duration::from_secs(60);
/// Says that it has begun, counts in a variable of the shell, and shows it in a file.
const COUNTING: &str = "echo once more >> /begun; i=0; \
    while :; do i=$((i + 1)); echo $i > /count.new; mv /count.new /count; sleep 0.02; done";
/// Holds a file of a bind mount open.
const HOLDING: &str =
    "exec 3> /data/held; echo before >&3; echo > /ready; while :; do sleep 1000; done";
const CONFLICT: i32 = 4;
const DENIED: i32 = 6;
const UNAVAILABLE: i32 = 7;

/// A shell that counts in its memory.
fn run_counting(host: &Host, id: &str) -> Result<()> {
    let image = host.image(Image::Busybox)?;
    host.run(id, image, COUNTING)?;
    shown(&host.rootfs(id), 3).map(drop)
}

/// How often the counting shell whose root this is has begun.
fn begun(rootfs: &Path) -> Result<usize> {
    let text = fs::read_to_string(rootfs.join("begun")).context("Read what has begun")?;
    Ok(text.lines().count())
}

/// Waits until the counting shell whose root this is shows at least `least`.
fn shown(rootfs: &Path, least: u64) -> Result<u64> {
    wait_for(&format!("a count of {least}"), LIMIT, || {
        let text = fs::read_to_string(rootfs.join("count")).unwrap_or_default();
        let count: Option<u64> = text.trim().parse().ok();
        Ok(count.filter(|count| *count >= least))
    })
}

/// A container of the witness.
fn run_witness(host: &Host, id: &str, how: &str) -> Result<()> {
    let layer = host.make_folder("layer")?;
    fs::create_dir(layer.join("bin"))?;
    fs::create_dir(layer.join("work"))?;
    fs::copy(workload("witness")?, layer.join("bin/witness"))?;
    host.import_layers(IMAGE, &[&Image::Busybox.rootfs()?, &layer])?;
    host.run(id, IMAGE, &format!("exec /bin/witness /work {how}"))?;
    let ready = host.rootfs(id).join("work/ready");
    wait_for("the witness", LIMIT, || Ok(ready.exists().then_some(())))
}

/// The witness's count.
fn witnessed(rootfs: &Path) -> Result<u64> {
    let torn = rootfs.join("work/torn");
    if let Ok(what) = fs::read_to_string(torn) {
        bail!("Memory and files are apart: {what}");
    }
    let bytes = fs::read(rootfs.join("work/file"))?;
    let first: [u8; 8] = bytes[..8].try_into()?;
    Ok(u64::from_le_bytes(first))
}

/// Waits until the witness has made some steps from now on.
fn goes_on(rootfs: &Path) -> Result<()> {
    let before = witnessed(rootfs)?;
    wait_for("more steps", LIMIT, || {
        Ok((witnessed(rootfs)? > before + 5).then_some(()))
    })
}

fn create(host: &Host, id: &str, flags: &[&str]) -> Result<Created> {
    host.snap_json(&[&["create", id], flags].concat())
}

fn memory_of(created: &Created) -> Result<&MemoryView> {
    created
        .snapshot
        .memory
        .as_ref()
        .context("It says nothing of memory")
}

/// Neither images nor records of pauses, nor mounts for images, are left.
fn nothing_is_left(host: &Host) -> Result<()> {
    for folder in ["memory", "pauses"] {
        let entries = fs::read_dir(host.state().join(folder))
            .into_iter()
            .flatten();
        let left: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        ensure!(left.is_empty(), "Left in {folder}: {left:?}");
    }
    let images = host.state().join("memory");
    let mounts = host.our_mounts()?;
    ensure!(
        !mounts.iter().any(|mount| mount.starts_with(&images)),
        "Mounted: {mounts:?}"
    );
    Ok(())
}

#[test]
fn the_doctor_finds_a_criu_that_fits_this_kernel() -> Result<()> {
    let host = Host::start_without_containerd("")?;
    let report = host.snapctl(["--output", "json", "doctor"])?;
    let report: DoctorReport = serde_json::from_str(&report.stdout)?;
    let criu: &Check = report
        .checks
        .iter()
        .find(|check| check.name == "criu")
        .context("No check of CRIU")?;
    assert_eq!(criu.result, CheckResult::Ok, "{criu:?}");
    assert!(criu.found.contains("fit for this kernel"), "{criu:?}");
    Ok(())
}

/// **P1** With `--memory` the processes of a container are captured as well, and a restored container's processes go on from where
/// they were, while the original runs on.
/// **P3** Each of the containers restored from one snapshot has processes of its own.
#[test]
fn a_counting_shell_goes_on_from_its_number_in_three_clones() -> Result<()> {
    let host = Host::start()?;
    run_counting(&host, "one")?;
    let created = create(&host, "one", &["--memory=required", "--name", "warm"])?;
    assert!(memory_of(&created)?.captured);
    assert!(created.pause_us > 0);
    let original = shown(&host.rootfs("one"), 1)?;
    shown(&host.rootfs("one"), original + 3)?;

    let restored: Restored = host.snap_json(&["restore", "warm", "--id", "two", "--count", "3"])?;
    assert!(restored.with_memory);
    for id in ["two-1", "two-2", "two-3"] {
        let rootfs = host.restored_rootfs(id);
        let count = shown(&rootfs, 3)?;
        shown(&rootfs, count + 3)?;
        assert_eq!(begun(&rootfs)?, 1);
        assert_eq!(host.task_status(id)?.as_deref(), Some("RUNNING"));
        assert!(host.exec(id, "cat /proc/1/cmdline")?.contains("while"));
    }
    shown(&host.rootfs("one"), original + 6)?;
    nothing_is_left(&host)?;
    for id in ["two-1", "two-2", "two-3"] {
        host.snap(&["container", "remove", id])?;
    }
    wait_for("every mount to go", LIMIT, || {
        Ok(host.our_mounts()?.is_empty().then_some(()))
    })
}

/// **P2** Files and memory of a snapshot are of one instant: a restored process finds its files as it left them.
#[test]
fn memory_and_files_are_never_apart() -> Result<()> {
    let host = Host::start()?;
    run_witness(&host, "one", "")?;
    let mut second_bytes = 0;
    for round in 0..rounds(20, 200) {
        let created = create(&host, "one", &["--memory=required"])?;
        if round == 1 {
            second_bytes = created.stored_bytes;
        }
        let id = &created.snapshot.id;
        let container = format!("r{round}");
        host.snap(&["restore", id, "--id", &container])?;
        goes_on(&host.restored_rootfs(&container)).with_context(|| format!("In round {round}"))?;
        host.snap(&["container", "remove", &container])?;
        host.snap(&["remove", id])?;
    }
    println!(
        "stored by the second snapshot of a process that goes on writing: {second_bytes} bytes"
    );
    goes_on(&host.rootfs("one"))?;
    nothing_is_left(&host)
}

/// **P4** Memory is stored as files are: a second snapshot of processes that did nothing meanwhile adds next to nothing.
#[test]
fn a_second_snapshot_of_an_idle_process_adds_next_to_nothing() -> Result<()> {
    let host = Host::start()?;
    let image = host.image(Image::Busybox)?;
    // A pipe of 8 MB of noise held in memory by the shell that reads it, as text.
    let script =
        "x=$(head -c 8000000 /dev/urandom | base64); echo > /ready; while :; do sleep 1000; done";
    host.run("one", image, script)?;
    let ready = host.rootfs("one").join("ready");
    wait_for("the noise", LIMIT, || Ok(ready.exists().then_some(())))?;
    let first = create(&host, "one", &["--memory=required"])?;
    let second = create(&host, "one", &["--memory=required"])?;
    let image_bytes = memory_of(&first)?.bytes;
    println!(
        "images {image_bytes} bytes; stored first {}, second {}; pauses {} and {} us",
        first.stored_bytes, second.stored_bytes, first.pause_us, second.pause_us
    );
    assert!(image_bytes > 8_000_000, "{image_bytes}");
    assert!(first.stored_bytes > 5_000_000, "{}", first.stored_bytes);
    assert!(
        second.stored_bytes < first.stored_bytes / 10,
        "{}",
        second.stored_bytes
    );
    nothing_is_left(&host)
}

/// **P5** When memory cannot be captured, the snapshot is of files alone, and result, list and show say so with the reason; with
/// `--memory=required` there is no snapshot then. The container runs on either way.
#[test]
fn what_criu_cannot_capture_is_left_out_loudly_or_fails() -> Result<()> {
    let host = Host::start()?;
    run_witness(&host, "one", "linked")?;
    let answer = host.snapctl(["create", "one", "--memory", "--name", "cold"])?;
    assert!(
        answer.stderr.contains("memory could not be captured"),
        "{}",
        answer.stderr
    );
    assert!(host.snap(&["list"])?.contains("memory failed"));
    assert!(host.snap(&["show", "cold"])?.contains("failed, "));
    let shown = host
        .show("cold")?
        .snapshot
        .memory
        .context("It says nothing of memory")?;
    let reason = shown.reason.unwrap_or_default();
    assert!(!shown.captured && reason.contains("link remap"), "{reason}");
    goes_on(&host.rootfs("one"))?;

    let refused = host.snapctl(["create", "one", "--memory=required"])?;
    assert!(
        refused.stderr.contains("cannot be captured"),
        "{}",
        refused.stderr
    );
    goes_on(&host.rootfs("one"))?;
    nothing_is_left(&host)?;
    // What failed may be looked at, and holds nothing.
    let all: Vec<snap_api::SnapshotView> = host.snap_json(&["list"])?;
    let active = all
        .iter()
        .filter(|one| one.state == SnapshotState::Active)
        .count();
    assert_eq!(active, 1);

    // Processes that are not in the snapshot begin anew.
    let restored: Restored = host.snap_json(&["restore", "cold", "--id", "two"])?;
    assert!(!restored.with_memory);
    Ok(())
}

/// **P15** What is known to keep CRIU from capturing a process is told before anything stands still: by `snapctl check`, which
/// changes nothing, and by a create that wants memory.
#[test]
fn what_stands_in_the_way_is_told_while_the_processes_run() -> Result<()> {
    for (what, kind) in [("ring", "io-uring"), ("large", "large-deleted-file")] {
        let host = Host::start()?;
        run_witness(&host, "one", what)?;
        let verdict: Verdict = host.snap_json(&["check", "one"])?;
        assert_eq!(verdict.blockers.len(), 1, "{verdict:?}");
        assert_eq!(verdict.blockers[0].kind, kind);
        assert_eq!(verdict.blockers[0].pid, Some(host.task_pid("one")?));
        assert_eq!(
            host.snapctl(["check", "--memory", "one"])?.code,
            UNAVAILABLE
        );
        let refused = host.snapctl(["create", "one", "--memory=required"])?;
        assert_eq!(refused.code, UNAVAILABLE, "{refused:?}");
        assert!(
            refused.stderr.contains(&verdict.blockers[0].found),
            "{refused:?}"
        );
        assert!(!host.log_end().contains("Cannot capture the memory"));
        let created = create(&host, "one", &["--memory"])?;
        let reason = memory_of(&created)?.reason.as_deref();
        assert!(reason.is_some_and(|reason| reason.contains(&verdict.blockers[0].found)));
        goes_on(&host.rootfs("one"))?;
        nothing_is_left(&host)?;
    }
    let host = Host::start_with_idle("one")?;
    let verdict: Verdict = host.snap_json(&["check", "one", "--memory"])?;
    assert_eq!(verdict.blockers, []);
    assert!(
        verdict.processes >= 1 && verdict.memory_bytes > 0,
        "{verdict:?}"
    );
    Ok(())
}

/// **P6** With `--no-memory` a snapshot that holds memory is restored as one of files alone.
#[test]
fn without_its_memory_a_snapshot_is_one_of_files_whose_processes_begin_anew() -> Result<()> {
    let host = Host::start()?;
    run_counting(&host, "one")?;
    create(&host, "one", &["--memory=required", "--name", "warm"])?;
    for (id, flag) in [("two", "--no-memory"), ("three", "--no-start")] {
        let restored: Restored = host.snap_json(&["restore", "warm", "--id", id, flag])?;
        assert!(!restored.with_memory);
        assert_eq!(restored.warnings.is_empty(), flag == "--no-memory");
    }
    host.snap(&["container", "start", "three"])?;
    for id in ["two", "three"] {
        let rootfs = host.restored_rootfs(id);
        wait_for("a second beginning", LIMIT, || {
            Ok((begun(&rootfs)? == 2).then_some(()))
        })?;
        shown(&rootfs, 1)?;
    }
    nothing_is_left(&host)
}

/// **P7** Memory is never part of what is mounted, listed or copied.
#[test]
fn images_of_memory_are_in_nothing_that_users_see() -> Result<()> {
    let host = Host::start_with_idle("one")?;
    create(&host, "one", &["--name", "cold"])?;
    create(&host, "one", &["--memory=required", "--name", "warm"])?;
    let listed = |name: &str| host.paths_in(name, "/");
    assert_eq!(listed("warm")?, listed("cold")?);
    assert!(host.snap(&["diff", "cold", "warm"])?.trim().is_empty());
    let copied = |name: &str| {
        let target = host.folder().join(name);
        let target = snap_tests::text(&target)?;
        host.snap(&["copy", &format!("{name}:/"), target])?;
        Tree::read(Path::new(target))
    };
    let cold = copied("cold")?;
    assert_eq!(copied("warm")?.differences(&cold), [""; 0]);
    let mounted = host.mount("warm", "mounted", &[])?;
    assert_eq!(Tree::read(&mounted)?.differences(&cold), [""; 0]);
    host.snap(&["unmount", snap_tests::text(&mounted)?])?;
    Ok(())
}

/// **P9** Whoever is not root cannot restore the memory of a snapshot, only its files.
#[test]
fn memory_is_for_root_alone_to_restore() -> Result<()> {
    let host = Host::start()?;
    run_counting(&host, "one")?;
    create(&host, "one", &["--memory=required", "--name", "warm"])?;
    host.let_everybody_in()?;
    for flag in ["--force", "--fallback"] {
        let refused = host.snapctl_as_nobody(&["restore", "warm", flag])?;
        assert_eq!(refused.code, DENIED, "{refused:?}");
        assert!(refused.stderr.contains("--no-memory"), "{refused:?}");
    }
    assert_eq!(host.containers()?, ["one"]);
    host.snapctl_as_nobody(&["restore", "warm", "--id", "two", "--no-memory"])?
        .ok()?;
    Ok(())
}

/// **P10** When memory cannot be restored, the error carries the reason CRIU gives and nothing is left of what was half made; with
/// `--fallback` the files alone are restored, with that reason as a warning.
#[test]
fn a_restore_that_criu_refuses_is_undone_or_falls_back_to_files() -> Result<()> {
    let host = Host::start()?;
    let data = host.make_folder("data")?;
    let mount = format!(
        "type=bind,src={},dst=/data,options=rbind:rw",
        data.display()
    );
    let image = host.image(Image::Busybox)?;
    host.run_with("one", image, HOLDING, &["--mount", &mount])?;
    let ready = host.rootfs("one").join("ready");
    wait_for("the file", LIMIT, || Ok(ready.exists().then_some(())))?;
    create(&host, "one", &["--memory=required", "--name", "warm"])?;

    let restore = ["restore", "warm", "--keep-mount", "/data", "--id"];
    let ids = ["two", "--count", "2"];
    host.snap(&[&restore[..], &ids].concat())?;
    for id in ["two-1", "two-2"] {
        host.snap(&["container", "remove", id])?;
    }
    // CRIU finds an open file with another size than it had.
    fs::write(data.join("held"), "something else")?;
    let refused = host.snapctl([&restore[..], &ids].concat())?;
    assert_eq!(refused.code, UNAVAILABLE, "{refused:?}");
    assert!(refused.stderr.contains("has bad size"), "{refused:?}");
    assert_eq!(host.containers()?, ["one"]);
    for id in ["two-1", "two-2"] {
        assert_eq!(host.task_status(id)?, None);
        assert_eq!(cgroups_of(&host, id)?, Vec::<PathBuf>::new());
    }
    nothing_is_left(&host)?;

    let fallen = [&restore[..], &["three", "--fallback"]].concat();
    let restored: Restored = host.snap_json(&fallen)?;
    assert!(!restored.with_memory);
    let warned = restored.warnings.join("\n");
    assert!(warned.contains("has bad size"), "{warned}");
    wait_for("a new beginning", LIMIT, || {
        let held = fs::read_to_string(data.join("held"))?;
        Ok((held == "before\n").then_some(()))
    })?;
    assert_eq!(host.task_status("one")?.as_deref(), Some("RUNNING"));
    nothing_is_left(&host)
}

/// Control groups of the container `id`, in whichever hierarchy.
fn cgroups_of(host: &Host, id: &str) -> Result<Vec<PathBuf>> {
    let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
    for entry in fs::read_dir("/sys/fs/cgroup")? {
        folders.push(entry?.path());
    }
    let groups = folders
        .into_iter()
        .map(|folder| folder.join(host.namespace()).join(id));
    Ok(groups.filter(|group| group.exists()).collect())
}

/// **P11** Memory is not restored, and nothing is touched, where its network, its processor, its control groups or its CRIU are not
/// what they must be.
#[test]
fn a_host_that_does_not_suit_is_told_before_anything_is_made() -> Result<()> {
    let host = Host::start()?;
    run_counting(&host, "one")?;
    create(&host, "one", &["--memory=required", "--name", "warm"])?;
    let refused = host.snapctl(["restore", "warm", "--network", "host"])?;
    assert_eq!(refused.code, CONFLICT, "{refused:?}");
    assert!(
        refused.stderr.contains("a network of their own"),
        "{refused:?}"
    );
    let flags = [
        "restore",
        "warm",
        "--id",
        "two",
        "--network",
        "host",
        "--fallback",
    ];
    let restored: Restored = host.snap_json(&flags)?;
    assert!(!restored.with_memory && !restored.warnings.is_empty());

    host.pretend("criu", UNFIT)?;
    let refused = host.snapctl(["restore", "warm"])?;
    assert_eq!(refused.code, CONFLICT, "{refused:?}");
    assert!(
        refused.stderr.contains("here CRIU is 3.17.1"),
        "{refused:?}"
    );
    let restored: Restored = host.snap_json(&["restore", "warm", "--id", "three", "--fallback"])?;
    assert!(!restored.with_memory);
    assert!(restored.warnings.join("").contains("3.17.1"));
    host.pretend_no_more("criu")?;
    let restored: Restored = host.snap_json(&["restore", "warm", "--id", "four"])?;
    assert!(restored.with_memory);
    nothing_is_left(&host)
}

/// What Debian 12's CRIU does on a new kernel.
const UNFIT: &str = "case $1 in
    --version) echo 'Version: 3.17.1';;
    *) echo '(00.01) Error (criu/vdso.c:1): vdso: Unexpected rt vDSO area bounds' >&2; exit 1;;
esac";

#[test]
fn a_criu_that_does_not_fit_the_kernel_is_told_before_anything_stands_still() -> Result<()> {
    let host = Host::start_with_idle("one")?;
    host.pretend("criu", UNFIT)?;
    let created = create(&host, "one", &["--memory"])?;
    let memory = memory_of(&created)?;
    let reason = memory.reason.as_deref().unwrap_or_default();
    assert!(
        !memory.captured && reason.contains("Unexpected rt vDSO"),
        "{reason}"
    );
    let refused = host.snapctl(["create", "one", "--memory=required"])?;
    assert_eq!(refused.code, UNAVAILABLE, "{refused:?}");
    assert!(refused.stderr.contains("snapctl doctor"), "{refused:?}");
    assert!(host.snap(&["doctor"])?.contains("unfit for this kernel"));
    nothing_is_left(&host)
}

/// **P12** With `--stop` nothing happens to the processes between the capture of their memory and their end.
#[test]
fn what_was_stopped_goes_on_where_it_ended() -> Result<()> {
    let host = Host::start()?;
    run_witness(&host, "one", "")?;
    create(
        &host,
        "one",
        &["--memory=required", "--stop", "--name", "warm"],
    )?;
    let last = witnessed(&host.rootfs("one"))?;
    assert_eq!(host.task_status("one")?.as_deref(), Some("STOPPED"));
    host.snap(&["restore", "warm", "--id", "two"])?;
    let rootfs = host.restored_rootfs("two");
    goes_on(&rootfs)?;
    assert!(witnessed(&rootfs)? > last);
    nothing_is_left(&host)
}

/// **P8** A daemon that is killed while it captures memory leaves the original running, and the next start leaves nothing of the
/// capture.
#[test]
fn a_daemon_killed_while_it_captures_memory_leaves_the_original_running() -> Result<()> {
    let mut host = Host::start()?;
    let mut dice = Dice::new();
    run_witness(&host, "one", "")?;
    for round in 0..rounds(5, 50) {
        let mut command = host
            .snapctl_command()?
            .args(["create", "one", "--memory"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("Run snapctl")?;
        let begun = host.state().join("memory");
        let seen = wait_for("images", LIMIT, || {
            let is_over = command.try_wait()?.is_some();
            let has_begun = fs::read_dir(&begun).is_ok_and(|mut all| all.next().is_some());
            Ok((is_over || has_begun).then_some(()))
        });
        thread::sleep(Duration::from_micros(dice.below(300_000)));
        host.take_daemon()?.kill()?;
        seen?;
        command.wait()?;
        host.start_daemon()?;
        let in_round = || format!("In round {round}");
        goes_on(&host.rootfs("one")).with_context(in_round)?;
        nothing_is_left(&host).with_context(in_round)?;
        assert_eq!(host.task_status("one")?.as_deref(), Some("RUNNING"));
    }
    create(&host, "one", &["--memory=required", "--name", "warm"])?;
    host.snap(&["restore", "warm", "--id", "two"])?;
    goes_on(&host.restored_rootfs("two"))
}

/// **P13** Loopback is up before a process goes on, connections it had are closed, and sockets it listened on are there.
#[test]
fn loopback_is_up_where_processes_go_on() -> Result<()> {
    // A server, a client that stays, and who looks at the interface all the time.
    const NETWORK: &str = "nc -ll -p 8000 -e /bin/sh -c 'echo x >> /served; read line; echo $line' & \
        until echo | nc -w 5 127.0.0.1 8000; do :; done; rm /served; sleep 1000 | nc 127.0.0.1 8000 & \
        while :; do ifconfig lo | grep -q UP || echo down >> /down; echo x >> /looked; sleep 0.01; done";
    const ESTABLISHED: &str = "cat /proc/net/tcp /proc/net/tcp6 | grep -c ' 01 '; true";
    let host = Host::start()?;
    host.run("one", host.image(Image::Busybox)?, NETWORK)?;
    let served = host.rootfs("one").join("served");
    wait_for("the client that stays", LIMIT, || {
        let is_served = served.exists() && host.exec("one", ESTABLISHED)? == "2";
        Ok(is_served.then_some(()))
    })?;
    let looked = |rootfs: &Path| fs::metadata(rootfs.join("looked")).map_or(0, |about| about.len());
    let goes_on = |rootfs: &Path| {
        let before = looked(rootfs);
        wait_for("more looks", LIMIT, || {
            Ok((looked(rootfs) > before + 10).then_some(()))
        })
    };
    goes_on(&host.rootfs("one"))?;
    create(&host, "one", &["--memory=required", "--name", "warm"])?;
    host.snap(&["restore", "warm", "--id", "two"])?;
    let rootfs = host.restored_rootfs("two");
    goes_on(&rootfs)?;
    assert!(!rootfs.join("down").exists());
    assert_eq!(host.exec("two", ESTABLISHED)?, "0");
    assert_eq!(
        host.exec("two", "echo heard | nc -w 5 127.0.0.1 8000")?,
        "heard"
    );
    assert_eq!(host.exec("one", ESTABLISHED)?, "2");
    Ok(())
}

/// **P14** A daemon that is killed while it restores memory has restored every container or none after the next start, and leaves
/// nothing else; the original runs on.
#[test]
fn a_daemon_killed_while_it_restores_memory_restores_all_or_nothing() -> Result<()> {
    let mut host = Host::start()?;
    let mut dice = Dice::new();
    run_witness(&host, "one", "")?;
    create(&host, "one", &["--memory=required", "--name", "warm"])?;
    for round in 0..rounds(6, 50) {
        let id = format!("r{round}");
        let mut command = host
            .snapctl_command()?
            .args(["restore", "warm", "--count", "2", "--id", &id])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("Run snapctl")?;
        thread::sleep(Duration::from_micros(dice.below(1_200_000)));
        host.take_daemon()?.kill()?;
        command.wait()?;
        host.start_daemon()?;
        let in_round = || format!("In round {round}");
        let both = [format!("{id}-1"), format!("{id}-2")];
        let settled = wait_for("all or none", LIMIT, || {
            let all = host.containers()?;
            let made: Vec<_> = both.iter().filter(|id| all.contains(id)).collect();
            let listed: Vec<ContainerView> = host.snap_json(&["container", "list"])?;
            let known = listed.iter().filter(|one| both.contains(&one.id)).count();
            Ok((made.len() == known && known != 1).then_some(known))
        });
        let settled = settled.with_context(in_round)?;
        wait_for("images to go", LIMIT, || Ok(nothing_is_left(&host).ok()))
            .with_context(in_round)?;
        for id in both.iter().take(settled) {
            goes_on(&host.restored_rootfs(id)).with_context(in_round)?;
            host.snap(&["container", "remove", id])?;
        }
        for id in &both {
            let left = cgroups_of(&host, id)?;
            assert_eq!(left, Vec::<PathBuf>::new(), "In round {round}");
            assert_eq!(host.task_status(id)?, None, "In round {round}");
        }
        goes_on(&host.rootfs("one")).with_context(in_round)?;
    }
    Ok(())
}
