//! docs/semantics.md: templates, in real containers: what is run again, what is registered, and what becomes of a build that fails.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};
use serde_json::Value;
use snap_api::{Built, SnapshotView, TemplatePlan, TemplateView, VersionView};
use snap_tests::{Host, Image, text, wait_for};

/// A template on busybox, in the host's folder.
fn write(host: &Host, name: &str, rest: &str) -> Result<String> {
    let image = host.image(Image::Busybox)?;
    let (head, tail) = rest.split_once("---").unwrap_or(("", rest));
    let whole = format!("name = \"{name}\"\n{head}\n[base]\nimage = \"{image}\"\n{tail}\n");
    let file = host.folder().join(format!("{name}.toml"));
    fs::write(&file, whole)?;
    Ok(text(&file)?.to_owned())
}

fn build(host: &Host, file: &str) -> Result<Built> {
    host.snap_json(&["template", "build", file])
}

fn cached(built: &Built) -> Vec<bool> {
    built.steps.iter().map(|step| step.cached).collect()
}

fn git(folder: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
        .args(arguments)
        .output()
        .context("Run git")?;
    snap_tests::Answer::new(format!("git {arguments:?}"), &output).ok()
}

/// A repository with one commit, in the host's folder.
fn repository(host: &Host) -> Result<std::path::PathBuf> {
    let folder = host.make_folder("repository")?;
    git(&folder, &["init", "--quiet", "--initial-branch=main"])?;
    fs::write(folder.join("version"), "one")?;
    commit(&folder)?;
    Ok(folder)
}

fn commit(folder: &Path) -> Result<()> {
    git(folder, &["add", "."])?;
    git(folder, &["commit", "--quiet", "--message", "work"]).map(drop)
}

/// What is left of builds: neither containers, nor mounts, nor records.
fn stages(host: &Host) -> Result<Vec<String>> {
    let mut found = host.containers()?;
    found.extend(
        host.our_mounts()?
            .iter()
            .map(|path| path.display().to_string()),
    );
    found.retain(|name| name.contains("build-"));
    Ok(found)
}

/// **Y1** A template that is built is the next version of its name, and containers made from it have what its steps made.
#[test]
fn a_template_is_built_and_containers_start_from_it() -> Result<()> {
    let host = Host::start()?;
    let data = host.make_folder("data")?;
    fs::write(data.join("hello"), "from the host")?;
    fs::write(data.join("secret"), "not this")?;
    let file = write(
        &host,
        "app",
        "workdir = \"/srv\"\nuser = \"7:8\"\ncommand = [\"/bin/sh\", \"-c\", \"id -u > /tmp/who; echo $COLOUR $PWD >> /tmp/who; sleep 1000\"]\n---\n\
         [env]\nCOLOUR = \"blue\"\n[labels]\nteam = \"web\"\n\
         [[steps]]\nrun = \"echo $COLOUR > /made; echo said; mkdir -p /srv\"\n\
         [[steps]]\ncopy = { from = \"data\", to = \"/srv/data\", exclude = [\"secret\"] }\nuser = \"7\"\n",
    )?;
    let answer = host.snapctl(["template", "build", &file])?;
    assert!(answer.stderr.contains("said"), "{answer:?}");
    let version: Vec<VersionView> = host.snap_json(&["history", "app"])?;
    assert_eq!(version.len(), 1);
    assert_eq!(version[0].snapshot.labels["team"], "web");
    host.snap(&["run", "app", "--id", "one"])?;
    let who = || Ok(Some(host.exec("one", "cat /tmp/who")?).filter(|who| who.lines().count() == 2));
    let who = wait_for("the command", std::time::Duration::from_secs(10), who)?;
    assert_eq!(who, "7\nblue /srv");
    assert_eq!(
        host.exec("one", "cat /made /srv/data/hello; ls /srv/data")?,
        "blue\nfrom the hosthello"
    );
    assert_eq!(host.exec("one", "stat -c %u:%g /srv/data/hello")?, "7:7");
    host.snap(&[
        "run",
        "app",
        "--id",
        "two",
        "--",
        "/bin/sh",
        "-c",
        "echo other > /tmp/other; sleep 1000",
    ])?;
    let other = || {
        Ok(host
            .exec("two", "cat /tmp/other")
            .ok()
            .filter(|said| !said.is_empty()))
    };
    assert_eq!(
        wait_for(
            "the other command",
            std::time::Duration::from_secs(10),
            other
        )?,
        "other"
    );
    assert_eq!(stages(&host)?, Vec::<String>::new());
    Ok(())
}

/// **Y2** A step is run again only when something it depends on has changed: the base, a step before it, its own words, the files it
/// copies, the head of its branch. When nothing has changed, nothing is done.
#[test]
fn only_what_depends_on_a_change_is_run_again() -> Result<()> {
    let host = Host::start()?;
    let data = host.make_folder("data")?;
    fs::write(data.join("file"), "one")?;
    let repository = repository(&host)?;
    let steps = |second: &str| {
        format!(
            "[[steps]]\nrun = \"echo first >> /log\"\n\
             [[steps]]\nrun = \"{second}\"\n\
             [[steps]]\ncopy = {{ from = \"data\", to = \"/data\" }}\n\
             [[steps]]\ngit = {{ repository = \"./repository\", branch = \"main\", to = \"/code\" }}\n\
             [[steps]]\nrun = \"cat /data/file /code/version > /sum\"\n"
        )
    };
    let file = write(&host, "app", &steps("echo second >> /log"))?;
    let first = build(&host, &file)?;
    assert_eq!(cached(&first), [false; 5]);
    let again = build(&host, &file)?;
    assert!(again.unchanged && again.snapshot.id == first.snapshot.id && again.steps.is_empty());

    fs::write(data.join("file"), "two")?;
    assert_eq!(
        cached(&build(&host, &file)?),
        [true, true, false, false, false]
    );
    fs::write(repository.join("version"), "two")?;
    commit(&repository)?;
    let plan: TemplatePlan = host.snap_json(&["template", "build", &file, "--dry-run"])?;
    assert!(!plan.unchanged && plan.steps[2].cached && !plan.steps[3].cached);
    assert_eq!(
        cached(&build(&host, &file)?),
        [true, true, true, false, false]
    );
    let file = write(&host, "app", &steps("echo another >> /log"))?;
    assert_eq!(
        cached(&build(&host, &file)?),
        [true, false, false, false, false]
    );
    host.snap(&["run", "app", "--id", "one", "--", "/bin/sleep", "1000"])?;
    assert_eq!(host.exec("one", "cat /log /sum")?, "first\nanother\ntwotwo");
    fs::write(data.join("file"), "one")?;
    let everything: Built = host.snap_json(&["template", "build", &file, "--no-cache"])?;
    assert_eq!(cached(&everything), [false; 5]);
    Ok(())
}

/// **Y3** A step that fails ends the build: the error names the step, its exit status and its last lines, and the name stays where it was.
#[test]
fn a_step_that_fails_changes_nothing() -> Result<()> {
    let host = Host::start()?;
    let good = write(&host, "app", "[[steps]]\nrun = \"echo good > /state\"\n")?;
    let built = build(&host, &good)?;
    let bad = write(
        &host,
        "app",
        "[[steps]]\nrun = \"true\"\n[[steps]]\nrun = \"echo words; exit 3\"\n",
    )?;
    let answer = host.snapctl(["template", "build", &bad])?;
    assert_eq!(answer.code, 4, "{answer:?}");
    for word in [
        "Step 2 of 2 (run echo words; exit 3)",
        "exit status 3",
        "caused by: words",
    ] {
        assert!(answer.stderr.contains(word), "{word}: {answer:?}");
    }
    let view: TemplateView = host.snap_json(&["template", "show", "app"])?;
    assert_eq!(
        view.snapshot.context("It points to something")?.id,
        built.snapshot.id
    );
    assert_eq!(view.template.steps.len(), 1);
    assert_eq!(stages(&host)?, Vec::<String>::new());
    Ok(())
}

/// **Y4** The results of steps are in no listing that does not ask for them, and do not count against the limit of a namespace.
#[test]
fn results_of_steps_are_hidden() -> Result<()> {
    let host = Host::start_with(&snap_tests::HostOptions {
        config: "snapshots_per_namespace = 2\n".to_owned(),
        ..snap_tests::HostOptions::default()
    })?;
    let file = write(
        &host,
        "app",
        "[[steps]]\nrun = \"true\"\n[[steps]]\nrun = \"echo > /x\"\n",
    )?;
    build(&host, &file)?;
    let shown: Vec<SnapshotView> = host.snap_json(&["list"])?;
    assert_eq!(shown.len(), 1);
    let steps: Vec<SnapshotView> =
        host.snap_json(&["list", "--filter", "label=snapshotd.io/step"])?;
    assert_eq!(steps.len(), 3);
    let answer = host.snapctl(["label", "app", "snapshotd.io/step=x"])?;
    assert_eq!(answer.code, 2, "{answer:?}");
    host.snap(&["template", "remove", "app"])?;
    let steps: Vec<SnapshotView> =
        host.snap_json(&["list", "--filter", "label=snapshotd.io/step"])?;
    assert_eq!(steps.len(), 0);
    let kept: Vec<SnapshotView> = host.snap_json(&["list"])?;
    assert_eq!(kept.len(), 1);
    Ok(())
}

/// **Y5** `snapctl run` builds a template again from its base when the snapshot its name points to is gone, has expired or is damaged, and
/// says so.
#[test]
fn without_a_usable_snapshot_a_run_builds_from_the_base() -> Result<()> {
    let host = Host::start()?;
    let file = write(&host, "app", "[[steps]]\nrun = \"echo made > /made\"\n")?;
    let answer = host.snapctl(["run", "app"])?;
    assert_eq!(answer.code, 3, "{answer:?}");
    let run = |id: &str, flags: &[&str]| -> Result<Value> {
        let all = [
            &["run", "app", "--id", id][..],
            flags,
            &["--", "/bin/sleep", "1000"],
        ]
        .concat();
        host.snap_json(&all)
    };
    let from_file = run("one", &["--file", &file])?;
    assert_eq!(
        (&from_file["fallback"], &from_file["built"]["unchanged"]),
        (&true.into(), &false.into())
    );
    assert_eq!(host.exec("one", "cat /made")?, "made");
    assert_eq!(
        run("two", &["--file", &file])?["fallback"],
        Value::from(false)
    );

    for id in ["one", "two"] {
        host.snap(&["container", "remove", id])?;
    }
    host.snap(&["remove", "app:1"])?;
    let answer = host.snapctl(["run", "app", "--no-build"])?;
    assert_eq!(answer.code, 4, "{answer:?}");
    let answer = host.snapctl(["run", "app", "--id", "three", "--", "/bin/sleep", "1000"])?;
    assert!(
        answer
            .stderr
            .contains("points to nothing; it is built from its base"),
        "{answer:?}"
    );
    assert_eq!(host.exec("three", "cat /made")?, "made");

    host.snap(&["ttl", "app:2", "1s"])?;
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let expired = run("four", &[])?;
    assert!(
        expired["built"]["reason"]
            .as_str()
            .is_some_and(|why| why.contains("has expired")),
        "{expired}"
    );
    assert_eq!(expired["restored_from_snapshot"], Value::from(true));
    assert!(host.log_end().contains("it has expired"), "the log says so");
    Ok(())
}

/// **Y6** `snapctl template refresh` builds again what has changed; the name moves only when the probe of the new version passes, and
/// `snapctl rollback` goes back to the old one.
#[test]
fn a_refresh_switches_only_when_the_probe_passes() -> Result<()> {
    let host = Host::start()?;
    let repository = repository(&host)?;
    let file = write(
        &host,
        "app",
        "version = \"{branch}-{commit}\"\ncommand = \"cp /code/version /tmp/serves; sleep 1000\"\n---\n\
         [[steps]]\ngit = { repository = \"./repository\", branch = \"main\", to = \"/code\" }\n\
         [probe]\nrun = \"test $(cat /tmp/serves) != broken\"\ntimeout_seconds = 3\n",
    )?;
    let first = build(&host, &file)?;
    assert!(
        first
            .snapshot
            .names
            .iter()
            .any(|name| name.starts_with("app:main-")),
        "{:?}",
        first.snapshot.names
    );
    let refresh = || -> Result<Built> { host.snap_json(&["template", "refresh", "app"]) };
    assert!(refresh()?.unchanged);

    let write_version = |text: &str| -> Result<()> {
        fs::write(repository.join("version"), text)?;
        commit(&repository)
    };
    write_version("broken")?;
    let answer = host.snapctl(["template", "refresh", "app"])?;
    assert_eq!(answer.code, 4, "{answer:?}");
    assert!(
        answer.stderr.contains("app:latest stays as it was"),
        "{answer:?}"
    );
    assert_eq!(host.show("app")?.snapshot.id, first.snapshot.id);
    assert_eq!(stages(&host)?, Vec::<String>::new());

    write_version("two")?;
    let second = refresh()?;
    assert_eq!(host.show("app")?.snapshot.id, second.snapshot.id);
    host.snap(&["rollback", "app"])?;
    assert_eq!(host.show("app")?.snapshot.id, first.snapshot.id);
    let after = refresh()?;
    assert!(after.unchanged && after.warnings.len() == 1, "{after:?}");
    assert_eq!(host.show("app")?.snapshot.id, first.snapshot.id);
    Ok(())
}

/// **Y7** So many versions as the template says are kept, with the tags they were made with; older ones go.
#[test]
fn old_versions_go() -> Result<()> {
    let host = Host::start()?;
    for number in 1..=4 {
        let steps = format!(
            "version = \"v{number}\"\nkeep = 2\n---\n[[steps]]\nrun = \"echo {number} > /n\"\n"
        );
        build(&host, &write(&host, "app", &steps)?)?;
    }
    let versions: Vec<VersionView> = host.snap_json(&["history", "app"])?;
    let numbers: Vec<u64> = versions.iter().map(|one| one.version).collect();
    assert_eq!(numbers, [4, 3]);
    assert_eq!(versions[1].tags, ["v3"]);
    Ok(())
}

/// **Y8** A build that is cancelled, or whose daemon is killed, leaves neither containers nor mounts nor half a version.
#[test]
fn a_build_that_is_cut_short_leaves_nothing() -> Result<()> {
    let mut host = Host::start()?;
    let file = write(
        &host,
        "app",
        "[[steps]]\nrun = \"true\"\n[[steps]]\nrun = \"echo begun > /b; sleep 1000\"\n",
    )?;
    for kill in [false, true] {
        let mut client = host
            .snapctl_command()?
            .args(["template", "build", &file])
            .spawn()?;
        let stage = || {
            Ok(host.containers()?.into_iter().find(|id| {
                id.starts_with("build-")
                    && host.exec(id, "cat /b").is_ok_and(|said| said == "begun")
            }))
        };
        wait_for("the second step", std::time::Duration::from_secs(60), stage)?;
        if kill {
            let daemon = host.take_daemon()?.kill_and_start_again()?;
            client.wait()?;
            daemon.stop()?;
            host.start_daemon()?;
        } else {
            let jobs: Vec<Value> = host.snap_json(&["jobs", "list"])?;
            let job = jobs
                .iter()
                .find(|job| job["state"] == "running")
                .context("It runs")?;
            host.snap(&[
                "jobs",
                "cancel",
                job["job"].as_str().context("It has an id")?,
            ])?;
            client.wait()?;
        }
        assert_eq!(stages(&host)?, Vec::<String>::new());
        let all: Vec<SnapshotView> = host.snap_json(&["list"])?;
        assert_eq!(all.len(), 0, "{all:?}");
        let steps: Vec<SnapshotView> =
            host.snap_json(&["list", "--filter", "label=snapshotd.io/step"])?;
        assert!(
            steps
                .iter()
                .all(|step| step.state == snap_api::SnapshotState::Active)
        );
    }
    Ok(())
}

/// **Y9** Of several builds of one template at once each step is run by one.
#[test]
fn builds_of_one_template_take_turns() -> Result<()> {
    let host = Host::start()?;
    let file = write(
        &host,
        "app",
        "[[steps]]\nrun = \"sleep 1; echo made > /made\"\n",
    )?;
    let begin = || -> Result<std::process::Child> {
        let mut command = host.snapctl_command()?;
        command.args(["--output", "json", "template", "build", &file]);
        Ok(command.stdout(std::process::Stdio::piped()).spawn()?)
    };
    let mut unchanged = Vec::new();
    for client in [begin()?, begin()?] {
        let output = client.wait_with_output()?;
        let built: Built = snap_tests::Answer::new("build".to_owned(), &output).json()?;
        unchanged.push(built.unchanged);
    }
    unchanged.sort_unstable();
    assert_eq!(unchanged, [false, true]);
    let versions: Vec<VersionView> = host.snap_json(&["history", "app"])?;
    assert_eq!(versions.len(), 1);
    Ok(())
}

/// **Y10** With `memory` the processes of a version are captured once the probe has passed, and containers made from it go on from there.
#[test]
fn processes_go_on_from_where_the_probe_passed() -> Result<()> {
    let host = Host::start()?;
    let file = write(
        &host,
        "app",
        "memory = true\ncommand = \"echo begun >> /begun; i=0; while :; do i=$((i+1)); echo $i > /new; mv /new /n; sleep 0.05; done\"\n---\n\
         [probe]\nrun = \"test $(cat /n) -gt 20\"\n",
    )?;
    let built = build(&host, &file)?;
    assert!(built.snapshot.memory.is_some_and(|memory| memory.captured));
    let ran: Value = host.snap_json(&["run", "app", "--id", "one"])?;
    assert_eq!(ran["with_memory"], Value::from(true));
    let count = || -> Result<u64> { Ok(host.exec("one", "cat /n")?.parse()?) };
    let then = count()?;
    assert!(then > 20, "{then}");
    let further = || Ok(Some(count()?).filter(|now| *now > then));
    wait_for("it to go on", std::time::Duration::from_secs(20), further)?;
    assert_eq!(host.exec("one", "cat /begun")?, "begun");
    host.snap(&["run", "app", "--id", "two", "--", "/bin/sleep", "1000"])?;
    assert_eq!(
        host.exec("two", "cat /begun")?,
        "begun",
        "the command did not begin again"
    );
    Ok(())
}
