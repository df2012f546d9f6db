//! How long does a snapshot take of data that is new, changed by a hundredth, or unchanged, and how long is the pause?
//!
//! The yardstick of the captures is `tar | zstd -3 -T2` of the same folder, that of the pause is pausing and resuming by `ctr`.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use criterion::{BenchmarkId, Criterion};
use snap_api::Created;
use snap_benches::{OURS, copy_tree, criterion, host_of_containers, host_of_folders, run, timed};
use snap_tests::{Host, Image};

const TAR: &str = "tar to zstd -3 -T2";
/// Every how many-th file gets a line more.
const CHANGED_EACH: usize = 100;

fn tar(folder: &Path, archive: &Path) -> Result<()> {
    let script = "tar --create --directory \"$0\" . | zstd -q -3 -T2 > \"$1\"";
    run(Command::new("sh")
        .args(["-c", script])
        .args([folder, archive]))
}

fn bench_tar(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    folder: &Path,
    archive: &Path,
) {
    group.bench_function(TAR, |bencher| {
        bencher.iter_custom(|times| {
            timed(times, || Ok(()), |()| tar(folder, archive), |(), ()| Ok(()))
        });
    });
}

/// Each time into an empty store.
fn create_new(criterion: &mut Criterion) -> Result<()> {
    let host = host_of_folders()?;
    let data = copy_tree(&Image::Debian.rootfs()?, &host.folder().join("data"))?;
    let mut group = criterion.benchmark_group("create_new");
    group.bench_function(OURS, |bencher| {
        bencher.iter_custom(|times| {
            timed(
                times,
                host_of_folders,
                |fresh| create(fresh, &data),
                |_, _| Ok(()),
            )
        });
    });
    bench_tar(&mut group, &data, &host.folder().join("archive"));
    group.finish();
    Ok(())
}

fn create_again(criterion: &mut Criterion) -> Result<()> {
    let host = host_of_folders()?;
    let data = copy_tree(&Image::Debian.rootfs()?, &host.folder().join("data"))?;
    create(&host, &data)?;
    let mut group = criterion.benchmark_group("create_unchanged");
    group.bench_function(OURS, |bencher| {
        bencher.iter_custom(|times| {
            timed(times, || Ok(()), |()| create(&host, &data), |(), _| Ok(()))
        });
    });
    bench_tar(&mut group, &data, &host.folder().join("archive"));
    group.finish();

    let files = files(&data)?;
    let mut group = criterion.benchmark_group("create_one_percent_changed");
    group.bench_function(OURS, |bencher| {
        let touch = || change(&files);
        bencher.iter_custom(|times| timed(times, touch, |()| create(&host, &data), |(), _| Ok(())));
    });
    bench_tar(&mut group, &data, &host.folder().join("archive"));
    group.finish();
    Ok(())
}

fn create(host: &Host, folder: &Path) -> Result<Created> {
    host.snap_json(&[
        "create",
        "--path",
        folder.to_str().context("The path is UTF-8")?,
    ])
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            found.extend(files(&entry.path())?);
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn change(files: &[PathBuf]) -> Result<()> {
    for path in files.iter().step_by(CHANGED_EACH) {
        File::options()
            .append(true)
            .open(path)?
            .write_all(b"one line more\n")?;
    }
    Ok(())
}

/// The pause as the daemon reports it, for upper layers of different sizes, a megabyte of them changed each time.
fn pause(criterion: &mut Criterion) -> Result<()> {
    let host = host_of_containers()?;
    let mut group = criterion.benchmark_group("pause");
    for megabytes in [10, 1000] {
        let id = format!("m{megabytes}");
        host.run_idle(&id, Image::Debian)?;
        host.exec(
            &id,
            &format!("head -c {megabytes}M /dev/urandom > /noise; sync"),
        )?;
        let size = format!("{megabytes} MB");
        group.bench_function(BenchmarkId::new(OURS, &size), |bencher| {
            bencher.iter_custom(|times| {
                let pauses = (0..times)
                    .map(|_| pause_of_a_snapshot(&host, &id).expect("a snapshot can be made"));
                pauses.sum()
            });
        });
        group.bench_function(BenchmarkId::new("ctr pause and resume", &size), |bencher| {
            bencher.iter_custom(|times| {
                let cycle = |(): &()| {
                    host.ctr(&["task", "pause", &id])?.ok()?;
                    host.ctr(&["task", "resume", &id])?.ok()
                };
                timed(times, || Ok(()), cycle, |(), _| Ok(()))
            });
        });
    }
    group.finish();
    Ok(())
}

fn pause_of_a_snapshot(host: &Host, id: &str) -> Result<Duration> {
    host.exec(id, "head -c 1M /dev/urandom > /changed")?;
    let created: Created = host.snap_json(&["create", id])?;
    Ok(Duration::from_micros(created.pause_us))
}

fn main() -> Result<()> {
    let mut criterion = criterion();
    create_new(&mut criterion)?;
    create_again(&mut criterion)?;
    pause(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}
