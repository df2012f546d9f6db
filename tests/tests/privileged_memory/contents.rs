//! What is told of the memory in a snapshot.

use anyhow::{Context, Result};
use snap_api::MemoryContents;
use snap_tests::{Host, Image, wait_for};

use crate::{CONFLICT, DENIED, LIMIT, create, run_witness};

/// **P20** `snapctl show REF --memory` tells root what the memory of a snapshot holds: processes with their threads, their mappings, and
/// what they have open.
#[test]
fn the_processes_of_a_snapshot_are_told_with_what_they_have() -> Result<()> {
    const SERVING: &str = "nc -ll -p 8000 -e cat & sleep 1000 < /etc/passwd & echo > /ready; \
        while :; do sleep 0.2; done";
    let host = Host::start()?;
    host.run("one", host.image(Image::Busybox)?, SERVING)?;
    let ready = host.rootfs("one").join("ready");
    wait_for("both", LIMIT, || Ok(ready.exists().then_some(())))?;
    wait_for("the server", LIMIT, || {
        let listens = host.exec(
            "one",
            "cat /proc/net/tcp6 /proc/net/tcp | grep -c ' 0A '; true",
        )?;
        Ok((listens != "0").then_some(()))
    })?;
    create(&host, "one", &["--memory=required", "--name", "warm"])?;
    let contents: MemoryContents = host.snap_json(&["show", "warm", "--memory"])?;
    assert!(!contents.partial, "{contents:?}");
    let first = &contents.processes[0];
    assert_eq!((first.pid, first.parent, &*first.name), (1, 0, "sh"));
    assert!(contents.processes.len() >= 3);
    for process in &contents.processes {
        assert!(
            process.threads >= 1 && process.stored_bytes > 0,
            "{process:?}"
        );
        let mapped = process.mappings.iter().map(|one| one.stored_bytes);
        assert_eq!(mapped.sum::<u64>(), process.stored_bytes, "{process:?}");
        let program = process
            .mappings
            .iter()
            .find(|one| one.what == "/bin/busybox");
        assert!(program.context("No program")?.access.starts_with('r'));
        assert!(
            process
                .mappings
                .iter()
                .any(|one| one.what == "stack" || one.what == "anonymous")
        );
    }
    let open: Vec<&str> = contents
        .processes
        .iter()
        .flat_map(|one| one.open.iter().filter_map(|open| open.what.as_deref()))
        .collect();
    assert!(open.contains(&"/etc/passwd"), "{open:?}");
    let listens = open.iter().any(|what| what.contains(":8000 listening"));
    assert!(listens, "{open:?}");
    assert!(
        host.snap(&["show", "warm", "--memory"])?
            .contains("/etc/passwd")
    );

    create(&host, "one", &["--name", "cold"])?;
    assert_eq!(host.snapctl(["show", "cold", "--memory"])?.code, CONFLICT);
    host.let_everybody_in()?;
    let refused = host.snapctl_as_nobody(&["show", "warm", "--memory"])?;
    assert_eq!(refused.code, DENIED, "{refused:?}");
    Ok(())
}

#[test]
fn threads_are_counted() -> Result<()> {
    let host = Host::start()?;
    let script = "exec python3 -c 'import threading, time
for _ in range(6): threading.Thread(target=time.sleep, args=(1000,)).start()
open(\"/ready\", \"w\").close()
time.sleep(1000)'";
    host.run("one", host.image(Image::Programs)?, script)?;
    let ready = host.rootfs("one").join("ready");
    wait_for("the threads", LIMIT, || Ok(ready.exists().then_some(())))?;
    create(&host, "one", &["--memory=required", "--name", "warm"])?;
    let contents: MemoryContents = host.snap_json(&["show", "warm", "--memory"])?;
    assert_eq!(
        contents.processes[0].threads, 7,
        "{:?}",
        contents.processes[0]
    );
    Ok(())
}

#[test]
fn a_witness_has_its_files_open() -> Result<()> {
    let host = Host::start()?;
    run_witness(&host, "one", "")?;
    create(&host, "one", &["--memory=required", "--name", "warm"])?;
    let contents: MemoryContents = host.snap_json(&["show", "warm", "--memory"])?;
    let [witness] = &contents.processes[..] else {
        anyhow::bail!("{contents:?}");
    };
    assert_eq!(witness.name, "witness");
    assert!(
        witness
            .mappings
            .iter()
            .any(|one| one.what == "/work/mapped")
    );
    assert!(
        witness
            .open
            .iter()
            .any(|one| one.what.as_deref() == Some("/work/file"))
    );
    Ok(())
}
