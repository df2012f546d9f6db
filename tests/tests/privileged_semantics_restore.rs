//! docs/semantics.md: what a restored container is, and what becomes of its mounts.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use snap_api::Restored;
use snap_tests::{Host, Image, Tree, fill_nasty, text, wait_for};

const NO_DIFFERENCE: Vec<String> = Vec::new();
const USAGE: i32 = 2;
const CONFLICT: i32 = 4;
const CANCELLED: i32 = 10;
const SOON: std::time::Duration = std::time::Duration::from_secs(15);

/// **R1** A restored container's root equals the snapshot in everything H1 to H12 say, before its first process runs.
#[test]
fn the_root_is_the_snapshots_before_the_first_process_runs() -> Result<()> {
    let host = Host::start()?;
    let name = host.image(Image::Busybox)?;
    host.run("one", name, "echo start >> /starts; sleep 1000")?;
    fs::create_dir(host.rootfs("one").join("nasty"))?;
    fill_nasty(&host.rootfs("one").join("nasty"))?;
    let at_pause = Tree::read(&host.rootfs("one"))?;
    host.snap(&["create", "one", "--name", "site"])?;
    host.snap(&["restore", "site", "--id", "two", "--no-start"])?;
    let restored = Tree::read(&host.restored_rootfs("two"))?;
    assert_eq!(at_pause.differences(&restored), NO_DIFFERENCE);
    host.snap(&["start", "two"])?;
    wait_for("the first process", SOON, || {
        Ok((host.exec("two", "cat /starts")? == "start\nstart").then_some(()))
    })
}

/// **R4** What a restored container writes is its own: neither the snapshot nor another restored container changes.
/// **R5** It has a new id, made up unless `--id` names one; an id that exists already is a conflict, and nothing
/// changes.
/// **R11** With `--count N` there are N containers or none; with `--id ID` they are called ID-1 to ID-N.
#[test]
fn clones_are_made_all_or_none_and_write_for_themselves() -> Result<()> {
    let host = Host::start_with_idle("one")?;
    host.exec("one", "echo original > /file")?;
    host.snap(&["create", "one", "--name", "site"])?;
    let made: Restored = host.snap_json(&["restore", "site"])?;
    let made_up = &made.containers[0].id;
    assert!(made_up != "one" && host.exec(made_up, "cat /file")? == "original");
    host.snap(&["restore", "site", "--id", "web", "--count", "2"])?;
    host.exec("web-1", "echo changed > /file; rm /bin/vi")?;
    assert_eq!(
        host.exec("web-2", "cat /file; ls /bin/vi")?,
        "original\n/bin/vi"
    );
    let before = host.containers()?;
    assert_eq!(before.len(), 4);
    for (id, count) in [("one", "1"), ("web-1", "1"), ("web", "3")] {
        let answer = host.snapctl(["restore", "site", "--id", id, "--count", count])?;
        assert_eq!(answer.code, CONFLICT, "{answer:?}");
    }
    assert_eq!(host.containers()?, before);
    host.snap(&["restore", "site", "--id", "later"])?;
    assert_eq!(
        host.exec("later", "cat /file; ls /bin/vi")?,
        "original\n/bin/vi"
    );
    Ok(())
}

/// A container from a spec of `runc`, changed; its root is a copy of busybox's.
fn run_spec(host: &Host, id: &str, change: impl FnOnce(&mut Value)) -> Result<()> {
    let bundle = host.make_folder(&format!("bundle-{id}"))?;
    let copied = Command::new("cp")
        .arg("-a")
        .args([&Image::Busybox.rootfs()?, &bundle.join("root")])
        .status()?;
    anyhow::ensure!(copied.success(), "cp ended with {copied}");
    let made = Command::new("runc")
        .arg("spec")
        .current_dir(&bundle)
        .status()?;
    anyhow::ensure!(made.success(), "runc ended with {made}");
    let config = bundle.join("config.json");
    let mut spec: Value = serde_json::from_str(&fs::read_to_string(&config)?)?;
    spec["root"] = json!({"path": text(&bundle.join("root"))?, "readonly": false});
    spec["process"]["terminal"] = json!(false);
    spec["process"]["args"] = json!(["/bin/sleep", "1000"]);
    change(&mut spec);
    fs::write(&config, spec.to_string())?;
    host.ctr(&["run", "--detach", "--config", text(&config)?, id])?
        .ok()?;
    Ok(())
}

/// **R6** Its host name is its id when the original had a host name of its own, and otherwise the host's, as the original's was; where
/// processes go on from memory it is the id (P17).
/// **R10** Hooks and annotations of the captured configuration are not taken over, unless they are known to be
/// harmless; the answer's warnings name what was left out.
#[test]
fn names_are_its_own_and_hooks_and_annotations_are_left_behind() -> Result<()> {
    let host = Host::start()?;
    let hooked = host.folder().join("hooked");
    let hook = format!("echo x >> {}", hooked.display());
    run_spec(&host, "one", |spec| {
        spec["hostname"] = json!("original");
        spec["annotations"] = json!({"run.oci.keep": "x", "org.opencontainers.image.title": "t"});
        spec["hooks"] = json!({"prestart": [{"path": "/bin/sh", "args": ["sh", "-c", hook]}]});
    })?;
    assert_eq!(host.exec("one", "hostname")?, "original");
    assert_eq!(fs::read_to_string(&hooked)?, "x\n");
    host.snap(&["create", "one", "--name", "site"])?;
    let restored: Restored = host.snap_json(&["restore", "site", "--id", "two"])?;
    assert_eq!(host.exec("two", "hostname")?, "two");
    assert_eq!(fs::read_to_string(&hooked)?, "x\n");
    let info: Value = host.ctr(&["container", "info", "two"])?.json()?;
    let annotations = json!({"org.opencontainers.image.title": "t"});
    assert_eq!(info["Spec"]["annotations"], annotations);
    let said = restored.warnings.join("\n");
    assert!(
        said.contains("run.oci.keep") && said.contains("Hooks"),
        "{said}"
    );
    host.run_idle("nameless", Image::Busybox)?;
    host.snap(&["create", "nameless", "--name", "nameless"])?;
    host.snap(&["restore", "nameless", "--id", "three"])?;
    assert_eq!(
        host.exec("three", "hostname")?,
        host.exec("nameless", "hostname")?
    );
    Ok(())
}

/// **R8** Its network is a fresh namespace with nothing but loopback; with `--network host` the host's, with `--network
/// PATH` the one at that path; never the original's by itself.
#[test]
fn the_network_is_a_fresh_one_or_the_one_that_is_asked_for() -> Result<()> {
    let host = Host::start()?;
    let name = host.image(Image::Busybox)?;
    host.run_with("one", name, "sleep 1000", &["--net-host"])?;
    host.snap(&["create", "one", "--name", "site"])?;
    let network = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net"));
    let own = network(std::process::id())?;
    assert_eq!(network(host.task_pid("one")?)?, own);
    let mut holder = Command::new("unshare")
        .args(["--net", "sleep", "1000"])
        .spawn()?;
    let path = format!("/proc/{}/ns/net", holder.id());
    let result = (|| {
        wait_for("a network namespace", SOON, || {
            Ok((fs::read_link(&path)? != own).then_some(()))
        })?;
        for (id, choice) in [("fresh", "none"), ("shared", "host"), ("joined", &path)] {
            host.snap(&["restore", "site", "--id", id, "--network", choice])?;
        }
        let of = |id: &str| -> Result<PathBuf> { Ok(network(host.task_pid(id)?)?) };
        assert_eq!(of("shared")?, own);
        assert_eq!(of("joined")?, fs::read_link(&path)?);
        let fresh = of("fresh")?;
        assert!(fresh != own && fresh != of("joined")?);
        assert_eq!(
            host.exec("fresh", "tail -n +3 /proc/net/dev | cut -d: -f1 | xargs")?,
            "lo"
        );
        Ok(())
    })();
    holder.kill()?;
    holder.wait()?;
    result
}

/// What the kernel knows of a process and its configuration decides.
fn facts(pid: u32) -> Result<BTreeMap<String, String>> {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}"));
    let mut facts = BTreeMap::new();
    const LINES: [&str; 9] = [
        "Uid",
        "Gid",
        "Groups",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "NoNewPrivs",
        "Seccomp",
        "Umask",
    ];
    for line in read("status")?.lines() {
        let (name, value) = line.split_once(':').unwrap_or_default();
        if LINES.contains(&name) {
            facts.insert(name.to_owned(), value.trim().to_owned());
        }
    }
    for name in ["cmdline", "environ", "limits", "oom_score_adj"] {
        facts.insert(name.to_owned(), read(name)?);
    }
    let folder = fs::read_link(format!("/proc/{pid}/cwd"))?;
    facts.insert("cwd".to_owned(), folder.display().to_string());
    facts.insert("pids.max".to_owned(), pids_limit(&read("cgroup")?)?);
    Ok(facts)
}

fn pids_limit(cgroups: &str) -> Result<String> {
    let found = cgroups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        match (parts.next()?, parts.next()?) {
            ("pids", path) => Some(format!("/sys/fs/cgroup/pids{path}/pids.max")),
            ("", path) => Some(format!("/sys/fs/cgroup{path}/pids.max"))
                .filter(|path| Path::new(path).exists()),
            _ => None,
        }
    });
    let path = found.context("The process is in a cgroup that limits processes")?;
    Ok(fs::read_to_string(path)?)
}

/// **R9** Command, environment, working folder, user, capabilities, seccomp and resource limits are those of the
/// captured configuration.
#[test]
fn the_process_is_the_one_of_the_captured_configuration() -> Result<()> {
    let host = Host::start()?;
    run_spec(&host, "one", |spec| {
        let process = &mut spec["process"];
        process["args"] = json!(["/bin/sleep", "4321"]);
        process["env"] = json!(["PATH=/bin", "COLOUR=blue"]);
        process["cwd"] = json!("/etc");
        process["user"] = json!({"uid": 1234, "gid": 5678, "additionalGids": [9, 10], "umask": 63});
        process["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "hard": 345, "soft": 234}]);
        for set in ["bounding", "effective", "permitted", "ambient"] {
            process["capabilities"][set] = json!(["CAP_KILL", "CAP_CHOWN"]);
        }
        process["capabilities"]["inheritable"] = json!(["CAP_KILL", "CAP_CHOWN"]);
        spec["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls":
            [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]});
        spec["linux"]["resources"]["pids"] = json!({"limit": 77});
    })?;
    host.snap(&["create", "one", "--name", "site"])?;
    host.snap(&["restore", "site", "--id", "two"])?;
    let (expected, found) = (facts(host.task_pid("one")?)?, facts(host.task_pid("two")?)?);
    assert_eq!(expected["Uid"], "1234\t1234\t1234\t1234");
    assert_eq!(
        (expected["Seccomp"].as_str(), expected["pids.max"].trim()),
        ("2", "77")
    );
    assert_eq!(found, expected);
    host.exec("two", "echo x > /tmp/file")?;
    assert!(host.exec("two", "mkdir /tmp/folder").is_err());
    Ok(())
}

/// **R12** A restored container can be listed, entered, stopped and removed by containerd's own clients like any other,
/// and its task started again as long as the container exists, also after a reboot.
#[test]
fn a_restored_container_is_one_like_any_other_also_after_a_reboot() -> Result<()> {
    let mut host = Host::start_with_idle("one")?;
    host.exec("one", "echo kept > /file")?;
    host.snap(&["create", "one", "--name", "site"])?;
    host.snap(&["restore", "site", "--id", "two"])?;
    assert_eq!(host.containers()?, ["one", "two"]);
    host.exec_by_ctr("two", "echo mine > /mine")?;
    for round in ["first", "second"] {
        assert_eq!(
            host.exec("two", "cat /file /mine")?,
            "kept\nmine",
            "{round}"
        );
        host.kill_task("two")?;
        assert_eq!(host.task_status("two")?, None);
        host.ctr(&["task", "start", "--detach", "two"])?.ok()?;
    }
    host.power_off(&[])?;
    host.start_containerd()?;
    host.start_daemon()?;
    host.ctr(&["task", "start", "--detach", "two"])?.ok()?;
    assert_eq!(host.exec("two", "cat /file /mine")?, "kept\nmine");
    host.remove_by_ctr("two")?;
    assert_eq!(host.containers()?, ["one"]);
    Ok(())
}

/// **J2** A cancelled job undoes what it had half done, and ends with `cancelled`.
#[test]
fn a_cancelled_restore_leaves_no_container() -> Result<()> {
    let host = Host::start_with_idle("one")?;
    host.snap(&["create", "one", "--name", "site"])?;
    let restore = ["restore", "site", "--id", "web", "--count", "40"];
    let job = host.snap(&[&restore[..], &["--detach", "--quiet"]].concat())?;
    wait_for("the first container", SOON, || {
        Ok((host.containers()?.len() > 1).then_some(()))
    })?;
    host.snap(&["jobs", "cancel", &job])?;
    assert_eq!(host.snapctl(["jobs", "wait", &job])?.code, CANCELLED);
    assert_eq!(host.containers()?, ["one"]);
    wait_for("everything held to be released", SOON, || {
        Ok((host.our_mounts()?.is_empty() && host.mount_servers()?.is_empty()).then_some(()))
    })?;
    host.snap(&["remove", "site"])?;
    Ok(())
}

/// **R15** The snapshot of a folder cannot be restored as a container.
#[test]
fn a_folder_is_not_restored_as_a_container() -> Result<()> {
    let host = Host::start()?;
    let data = host.make_folder("data")?;
    host.capture(&data, &["--name", "data"])?;
    let answer = host.snapctl(["restore", "data", "--id", "two"])?;
    assert_eq!(answer.code, CONFLICT, "{answer:?}");
    assert_eq!(host.containers()?, Vec::<String>::new());
    Ok(())
}

/// **B2** A bind mount of a system file or folder of the host (`/etc/resolv.conf`, `/etc/hosts`, `/sys` and their like)
/// is mounted again.
/// **B4** A destination given to `--keep-mount` or `--drop-mount` where the snapshot's configuration has no mount is a
/// usage error.
/// **B5** tmpfs and the kernel's own file systems are mounted afresh, empty.
#[test]
fn system_files_are_bound_again_and_other_file_systems_mounted_afresh() -> Result<()> {
    let host = Host::start()?;
    let name = host.image(Image::Busybox)?;
    let bind = |path: &str| format!("type=bind,src={path},dst={path},options=rbind:ro");
    let (resolver, hosts) = (bind("/etc/resolv.conf"), bind("/etc/hosts"));
    let mut flags = vec!["--mount", &resolver, "--mount", &hosts];
    flags.extend(["--mount", "type=tmpfs,src=tmpfs,dst=/scratch,options=rw"]);
    host.run_with("one", name, "sleep 1000", &flags)?;
    host.exec("one", "echo x > /scratch/file")?;
    host.snap(&["create", "one", "--name", "site"])?;
    for flag in ["--keep-mount", "--drop-mount"] {
        let answer = host.snapctl(["restore", "site", "--id", "two", flag, "/nothing"])?;
        assert_eq!(answer.code, USAGE, "{answer:?}");
    }
    host.snap(&["restore", "site", "--id", "two"])?;
    let mounted = host.exec("two", "cut -d' ' -f2,3 /proc/mounts")?;
    for expected in ["/scratch tmpfs", "/proc proc", "/sys sysfs", "/dev tmpfs"] {
        assert!(
            mounted.lines().any(|line| line == expected),
            "{expected}: {mounted}"
        );
    }
    for path in ["/etc/resolv.conf", "/etc/hosts"] {
        assert!(
            mounted
                .lines()
                .any(|line| line.starts_with(&format!("{path} "))),
            "{mounted}"
        );
        assert_eq!(
            host.exec("two", &format!("cat {path}"))?,
            fs::read_to_string(path)?.trim_end()
        );
    }
    assert_eq!(host.exec("two", "ls /scratch")?, "");
    Ok(())
}
