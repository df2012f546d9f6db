//! How long does a container stand still for its memory, how soon do its processes go on elsewhere, and what does one more cost?
//!
//! The yardsticks are `runc checkpoint` into a tmpfs, `ctr containers restore --live` of a checkpoint that containerd has, and `ctr run`,
//! which begins anew. What one more clone or snapshot costs has none: it is printed once, as `what<tab>value<tab>unit`.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result};
use criterion::{BenchmarkId, Criterion};
use snap_api::{Created, Restored};
use snap_benches::{OURS, criterion, host_of_containers, run, timed};
use snap_tests::{Host, Image, text, wait_for, workload};

/// What the process holds, of noise.
const SIZES_MB: [u64; 2] = [10, 300];
/// How many clones are made of the largest at once.
const CLONES: u64 = 32;
const IMAGE: &str = "bench/holder:1";
const LIMIT: Duration = Duration::from_secs(120);
/// Below which runc keeps its containers, by namespace.
const RUNC: &str = "/run/containerd/runc";

fn source(megabytes: u64) -> String {
    format!("source-{megabytes}")
}

fn script(megabytes: u64) -> String {
    format!("exec /bin/holder {megabytes} /ready")
}

/// Runs a process that holds so many megabytes of noise, and waits until it has them.
fn hold(host: &Host, id: &str, megabytes: u64) -> Result<()> {
    host.run(id, IMAGE, &script(megabytes))?;
    let ready = host.rootfs(id).join("ready");
    wait_for("the holder", LIMIT, || Ok(ready.exists().then_some(())))
}

fn import(host: &Host) -> Result<()> {
    let layer = host.make_folder("layer")?;
    fs::create_dir(layer.join("bin"))?;
    fs::copy(workload("holder")?, layer.join("bin/holder"))?;
    host.import_layers(IMAGE, &[&Image::Busybox.rootfs()?, &layer])
}

fn create(host: &Host, id: &str, name: &str) -> Result<Created> {
    host.snap_json(&["create", id, "--memory=required", "--name", name])
}

fn pause_for_memory(criterion: &mut Criterion, host: &Host) -> Result<()> {
    let images = Path::new("/dev/shm").join(host.namespace());
    let mut group = criterion.benchmark_group("pause_for_memory");
    for megabytes in SIZES_MB {
        let (id, size) = (source(megabytes), format!("{megabytes} MB"));
        group.bench_function(BenchmarkId::new(OURS, &size), |bencher| {
            bencher.iter_custom(|times| {
                let pause = |_| {
                    let created = create(host, &id, &id).expect("the capture works");
                    Duration::from_micros(created.pause_us)
                };
                (0..times).map(pause).sum()
            });
        });
        group.bench_function(BenchmarkId::new("runc checkpoint", &size), |bencher| {
            bencher.iter_custom(|times| {
                let clear = |(), ()| Ok(fs::remove_dir_all(&images)?);
                let prepare = || Ok(fs::create_dir_all(&images)?);
                timed(times, prepare, |()| checkpoint(host, &id, &images), clear)
            });
        });
    }
    group.finish();
    Ok(())
}

fn checkpoint(host: &Host, id: &str, images: &Path) -> Result<()> {
    let images = text(images)?;
    run(Command::new("runc")
        .arg("--root")
        .arg(Path::new(RUNC).join(host.namespace()))
        .args(["checkpoint", "--leave-running", "--image-path", images])
        .args(["--work-path", images, id]))
}

fn restore_to_running(criterion: &mut Criterion, host: &Host) -> Result<()> {
    let mut group = criterion.benchmark_group("restore_to_running");
    for megabytes in SIZES_MB {
        let (id, size) = (source(megabytes), format!("{megabytes} MB"));
        let checkpointed = format!("bench/checkpoint:{megabytes}");
        let flags = ["containers", "checkpoint", "--rw", "--image", "--task"];
        host.ctr(&[&flags[..], &[&id, &checkpointed]].concat())?
            .ok()?;
        group.bench_function(BenchmarkId::new(OURS, &size), |bencher| {
            bencher.iter_custom(|times| {
                let restore = |(): &()| host.snap(&["restore", &id, "--id", "restored"]);
                let remove = |(), _| host.snap(&["container", "remove", "restored"]).map(drop);
                timed(times, || Ok(()), restore, remove)
            });
        });
        group.bench_function(BenchmarkId::new("ctr restore --live", &size), |bencher| {
            bencher.iter_custom(|times| {
                let restore = |(): &()| {
                    let flags = ["containers", "restore", "--rw", "--live", "restored"];
                    host.ctr(&[&flags[..], &[&checkpointed]].concat())?.ok()
                };
                timed(
                    times,
                    || Ok(()),
                    restore,
                    |(), _| host.remove_by_ctr("restored"),
                )
            });
        });
        group.bench_function(BenchmarkId::new("ctr run", &size), |bencher| {
            bencher.iter_custom(|times| {
                let begin = |(): &()| hold(host, "fresh", megabytes);
                timed(
                    times,
                    || Ok(()),
                    begin,
                    |(), ()| host.remove_by_ctr("fresh"),
                )
            });
        });
    }
    group.finish();
    Ok(())
}

/// What is free for programs, in bytes.
fn available() -> Result<i64> {
    let table = fs::read_to_string("/proc/meminfo").context("Read /proc/meminfo")?;
    let line = table
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kilobytes.context("It says what is free")?.parse::<i64>()? << 10)
}

#[expect(
    clippy::print_stdout,
    reason = "figures that criterion has no place for"
)]
fn cost_of_more(host: &Host) -> Result<()> {
    let megabytes = SIZES_MB[SIZES_MB.len() - 1];
    let id = source(megabytes);
    let again = create(host, &id, &id)?;
    println!("another snapshot\t{}\tB", again.stored_bytes);
    let none = available()?;
    host.snap(&["restore", &id, "--id", "first"])?;
    let one = available()?;
    let count = CLONES.to_string();
    let restored: Restored =
        host.snap_json(&["restore", &id, "--id", "more", "--count", &count])?;
    let all = available()?;
    let seconds = Duration::from_micros(restored.elapsed_us).as_secs_f64();
    println!("{CLONES} clones\t{seconds}\ts");
    println!("one clone\t{}\tB", none - one);
    println!(
        "each more clone\t{}\tB",
        (one - all) / i64::try_from(CLONES)?
    );
    for clone in restored
        .containers
        .iter()
        .map(|clone| &*clone.id)
        .chain(["first"])
    {
        host.snap(&["container", "remove", clone])?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let mut criterion = criterion();
    let host = host_of_containers()?;
    import(&host)?;
    for megabytes in SIZES_MB {
        hold(&host, &source(megabytes), megabytes)?;
        create(&host, &source(megabytes), &source(megabytes))?;
    }
    pause_for_memory(&mut criterion, &host)?;
    restore_to_running(&mut criterion, &host)?;
    // Gigabytes of memory: not when somebody has asked for something else.
    if std::env::args()
        .skip(1)
        .all(|argument| argument.starts_with("--"))
    {
        cost_of_more(&host)?;
    }
    criterion.final_summary();
    Ok(())
}
