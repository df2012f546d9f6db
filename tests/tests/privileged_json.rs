//! docs/json.md: every command is asked for JSON here, in each case in which it prints something else, and what it prints is what its schema
//! says. That is looked at with each `snapctl` that any test runs; here it is looked at that nothing is left out.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde_json::Value;
use snap_tests::{Host, HostOptions, Image, schemas, text};

/// Runs `snapctl --output json` with these words.
fn ask(host: &Host, line: &str) -> Result<Value> {
    let words: Vec<&str> = line.split(' ').collect();
    host.snap_json(&words)
}

fn ask_all(host: &Host, lines: &[&str]) -> Result<()> {
    lines.iter().try_for_each(|line| ask(host, line).map(drop))
}

/// Starts a job with --detach and waits for it; returns its id.
fn detach(host: &Host, line: &str) -> Result<String> {
    let started = ask(host, &format!("{line} --detach"))?;
    let job = started["job"].as_str().context("It is a job")?.to_owned();
    host.snap(&["jobs", "wait", &job])?;
    Ok(job)
}

/// Snapshots `app` of a container, `data` of a folder in two versions, `warm` with memory.
fn snapshots(host: &Host, data: &str) -> Result<()> {
    ask_all(
        host,
        &[
            "version",
            "check one",
            "create one --dry-run",
            "create one --name app",
            "create one --name warm --memory=required",
            "show warm --memory",
            &format!("create --path {data} --name data"),
        ],
    )?;
    fs::write(Path::new(data).join("file"), "changed")?;
    detach(host, &format!("create --path {data} --name data"))?;
    ask_all(
        host,
        &[
            "list",
            "show app",
            "tag app app:x",
            "untag app:x",
            "pin app",
            "unpin app",
            "label app a=b",
            "ttl app 1h",
            "history data",
            "rollback data",
            "history data --moves",
            "forget data --keep-last 1 --dry-run",
            "policy set data --keep-last 5",
            "policy show",
            "policy remove data",
            &format!("auto set data --path {data} --schedule yearly"),
            "auto list",
            "auto triggers",
            "auto remove data",
        ],
    )
}

/// What is in snapshots, and what is put into them.
fn contents(host: &Host, data: &str) -> Result<()> {
    let mounted = host.make_folder("mounted")?;
    let mounted = text(&mounted)?;
    let out = host.folder().join("out");
    let out = text(&out)?;
    ask_all(
        host,
        &[
            "tree data",
            "diff data:1 data:2",
            &format!("mount data {mounted}"),
            "status",
            "upgrade-mounts",
            &format!("unmount {mounted}"),
            &format!("copy data:/file {out}-1"),
            &format!("copy {data}/file data:/more"),
        ],
    )?;
    detach(host, &format!("copy data:/file {out}-2"))?;
    Ok(())
}

fn containers(host: &Host) -> Result<()> {
    ask(host, "restore app --id first")?;
    let job = detach(host, "restore app --id second")?;
    ask_all(
        host,
        &[
            "container list",
            "stop first",
            "start first",
            "container stop first",
            "container start first",
            "container remove first",
            "jobs",
            "jobs list",
            &format!("jobs show {job}"),
            &format!("jobs wait {job}"),
            &format!("jobs cancel {job}"),
        ],
    )
}

fn templates(host: &Host) -> Result<()> {
    let file = host.folder().join("shop.toml");
    let image = Image::Busybox.name();
    fs::write(
        &file,
        format!(
            "name = \"shop\"\ncommand = [\"/bin/sleep\", \"1000\"]\nbase = {{ image = \"{image}\" }}\n\
             steps = [{{ run = \"echo made > /made\" }}]\nprobe = {{ run = \"true\" }}\n"
        ),
    )?;
    let file = text(&file)?;
    ask_all(
        host,
        &[
            &format!("template build {file} --dry-run"),
            &format!("template build {file}"),
            "template refresh shop --dry-run",
            "template refresh shop",
            "template list",
            "template show shop",
            "run shop --id shop-1",
            "template remove shop",
        ],
    )
}

fn volumes(host: &Host, data: &str) -> Result<()> {
    let mounted = host.make_folder("volume")?;
    let mounted = text(&mounted)?;
    let out = host.folder().join("of-volume");
    ask_all(
        host,
        &[
            "volume create models",
            &format!("volume put models {data}/file"),
            "volume list",
            "volume list models",
            &format!("volume get models /file {}", text(&out)?),
            &format!("volume mount models {mounted}"),
            &format!("unmount {mounted}"),
            "restore app --id reader --volume models:/models",
        ],
    )?;
    host.exec("reader", "echo more > /models/more")?;
    ask_all(
        host,
        &[
            "container list",
            "volume commit models --container reader",
            "volume reload models --container reader",
            "container remove reader",
            "volume remove models /more",
            "volume remove models --yes",
        ],
    )
}

fn upkeep(host: &Host) -> Result<()> {
    let copy = host.folder().join("catalogue.db");
    for job in ["stats", "verify", "repair", "collect"] {
        ask(host, job)?;
        detach(host, job)?;
    }
    ask(host, &format!("backup {}", text(&copy)?))?;
    // What it finds on the machine that tests decides its exit code.
    host.snapctl(["--output", "json", "doctor"])?;
    ask_all(
        host,
        &[
            "remove data:1",
            "undelete data:1",
            "remove data:1",
            "trash list",
            "trash empty",
        ],
    )?;
    host.snap(&["--output", "json", "events"]).map(drop)
}

#[test]
fn every_command_prints_the_json_that_its_schema_says() -> Result<()> {
    let host = Host::start_with(&HostOptions {
        config: "trash_grace = \"1h\"\n".to_owned(),
        ..HostOptions::default()
    })?;
    host.run_idle("one", Image::Busybox)?;
    let data = host.make_folder("data")?;
    fs::write(data.join("file"), "content")?;
    let data = text(&data)?;
    snapshots(&host, data)?;
    contents(&host, data)?;
    containers(&host)?;
    templates(&host)?;
    volumes(&host, data)?;
    upkeep(&host)?;
    let (all, seen) = (schemas::all()?, schemas::seen());
    let left_out: Vec<_> = all.difference(&seen).collect();
    assert!(left_out.is_empty(), "never asked for: {left_out:?}");
    Ok(())
}
