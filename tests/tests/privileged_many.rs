//! Many restores of one snapshot at once: all of them succeed, or are refused with a limit that says what it is, and nothing is left of them.

use std::{
    collections::BTreeSet,
    os::unix::net::UnixStream,
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use snap_api::{ContainerView, Restored};
use snap_tests::{Answer, Host, HostOptions, Image, rounds, wait_for};

const LIMIT: i32 = 5;
const SOON: Duration = Duration::from_secs(60);
/// Each container costs a shim; `cargo bench --bench many -- many` and long runs make two hundred.
const FEW: usize = 24;
const MANY: usize = 200;

/// A host with a snapshot `site` of a container.
fn host_with_snapshot(config: &str) -> Result<Host> {
    let host = Host::start_with(&HostOptions {
        config: config.to_owned(),
        ..HostOptions::default()
    })?;
    host.run_idle("one", Image::Busybox)?;
    host.exec("one", "echo first > /file")?;
    host.snap(&["create", "one", "--name", "site"])?;
    Ok(host)
}

/// Asks for so many restores, each by a process of its own, and waits for all of them.
fn restore_at_once(host: &Host, count: usize) -> Result<Vec<Answer>> {
    let start = |number: usize| -> Result<Child> {
        host.snapctl_command()?
            .args(["restore", "site", "--id", &format!("at-once-{number}")])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("Run snapctl")
    };
    let children = (0..count).map(start).collect::<Result<Vec<_>>>()?;
    let wait = |child: Child| -> Result<Answer> {
        let output = child.wait_with_output().context("Wait for snapctl")?;
        Ok(Answer::new("snapctl restore".to_owned(), &output))
    };
    children.into_iter().map(wait).collect()
}

/// Each of them runs, and has what the snapshot has.
fn all_run(host: &Host, ids: &BTreeSet<String>) -> Result<()> {
    let listed: Vec<ContainerView> = host.snap_json(&["container", "list"])?;
    let running = listed.iter().filter(|one| one.status == "running");
    let running: BTreeSet<String> = running.map(|one| one.id.clone()).collect();
    assert_eq!(&running, ids);
    let (first, last) = (ids.first(), ids.last());
    for id in first.into_iter().chain(last) {
        assert_eq!(host.exec(id, "cat /file")?, "first");
    }
    assert_eq!(host.mount_servers()?.len(), 1, "all share one mount");
    Ok(())
}

fn remove_all(host: &Host, ids: &BTreeSet<String>) -> Result<()> {
    let mut arguments = vec!["container", "remove"];
    arguments.extend(ids.iter().map(String::as_str));
    host.snap(&arguments)?;
    wait_for("everything held to be released", SOON, || {
        let is_clear = host.our_mounts()?.is_empty() && host.mount_servers()?.is_empty();
        Ok(is_clear.then_some(()))
    })?;
    assert_eq!(host.containers()?, ["one"]);
    Ok(())
}

#[test]
fn two_hundred_restores_at_once_succeed_or_are_refused_with_a_limit() -> Result<()> {
    let host = host_with_snapshot("")?;
    let count = rounds(FEW, MANY);
    let mut made = BTreeSet::new();
    for (number, answer) in restore_at_once(&host, count)?.into_iter().enumerate() {
        match answer.code {
            0 => drop(made.insert(format!("at-once-{number}"))),
            code => assert_eq!(
                (code, answer.stderr.contains("limit")),
                (LIMIT, true),
                "{answer:?}"
            ),
        }
    }
    assert!(!made.is_empty());
    all_run(&host, &made)?;
    remove_all(&host, &made)?;

    let number = count.to_string();
    let restored: Restored =
        host.snap_json(&["restore", "site", "--id", "more", "--count", &number])?;
    let made: BTreeSet<String> = restored.containers.into_iter().map(|one| one.id).collect();
    assert_eq!(made.len(), count);
    all_run(&host, &made)?;
    remove_all(&host, &made)
}

#[test]
fn beyond_the_connections_of_a_user_restores_are_refused_with_that_limit() -> Result<()> {
    let host = host_with_snapshot("connections_per_user = 20\n")?;
    let held = (0..20).map(|_| UnixStream::connect(host.socket()));
    let held = held.collect::<Result<Vec<_>, _>>()?;
    wait_for("the connections to count", SOON, || {
        Ok((host.snapctl(["list"])?.code == LIMIT).then_some(()))
    })?;
    for answer in restore_at_once(&host, 10)? {
        assert_eq!(answer.code, LIMIT, "{answer:?}");
        assert!(answer.stderr.contains("connections"), "{answer:?}");
    }
    drop(held);
    wait_for("the connections to be given back", SOON, || {
        Ok((host.snapctl(["list"])?.code == 0).then_some(()))
    })?;
    let listed: Vec<ContainerView> = host.snap_json(&["container", "list"])?;
    assert!(listed.is_empty(), "{listed:?}");
    host.snap(&["restore", "site", "--id", "two"])?;
    assert_eq!(host.exec("two", "cat /file")?, "first");
    Ok(())
}
