//! How long until a restored container's process runs, and until a snapshot's first byte is read, whatever its size?
//!
//! The yardsticks are `ctr run` and `ctr images mount` of the same image, which has its layers unpacked already.

use std::{fs, io::Read as _, path::Path};

use anyhow::{Context, Result};
use criterion::{BenchmarkId, Criterion};
use snap_benches::{OURS, SIZES_MB, criterion, host_of_containers, timed, write_noise};
use snap_tests::{Host, Image};

const IDLE: &str = "while :; do sleep 1; done";

fn image(megabytes: u64) -> String {
    format!("bench/size:{megabytes}")
}

fn snapshot(megabytes: u64) -> String {
    format!("size-{megabytes}")
}

/// Makes an image of busybox and so many megabytes of noise, and the snapshot of a container of it.
fn make_snapshot(host: &Host, megabytes: u64) -> Result<()> {
    let layer = host.make_folder(&format!("layer-{megabytes}"))?;
    write_noise(&layer.join("noise"), megabytes << 20)?;
    host.import_layers(&image(megabytes), &[&Image::Busybox.rootfs()?, &layer])?;
    fs::remove_dir_all(&layer)?;
    host.run("source", &image(megabytes), IDLE)?;
    host.snap(&["create", "source", "--name", &snapshot(megabytes)])?;
    host.remove_by_ctr("source")
}

fn restore_to_first_process(criterion: &mut Criterion, host: &Host) {
    let mut group = criterion.benchmark_group("restore_to_first_process");
    for megabytes in SIZES_MB {
        let (image, name) = (image(megabytes), snapshot(megabytes));
        let size = format!("{megabytes} MB");
        group.bench_function(BenchmarkId::new(OURS, &size), |bencher| {
            bencher.iter_custom(|times| {
                let restore = |(): &()| host.snap(&["restore", &name, "--id", "restored"]);
                let remove = |(), _| host.snap(&["container", "remove", "restored"]).map(drop);
                timed(times, || Ok(()), restore, remove)
            });
        });
        group.bench_function(BenchmarkId::new("ctr run", &size), |bencher| {
            bencher.iter_custom(|times| {
                let remove = |(), ()| host.remove_by_ctr("fresh");
                timed(
                    times,
                    || Ok(()),
                    |()| host.run("fresh", &image, IDLE),
                    remove,
                )
            });
        });
    }
    group.finish();
}

/// Ours is mounted afresh each time: its server starts, opens the store and reads what it must.
fn time_to_first_byte(criterion: &mut Criterion, host: &Host) -> Result<()> {
    let folder = host.make_folder("mounted")?;
    let folder = folder.to_str().context("The path is UTF-8")?;
    let mut group = criterion.benchmark_group("time_to_first_byte");
    for megabytes in SIZES_MB {
        let (image, name) = (image(megabytes), snapshot(megabytes));
        let size = format!("{megabytes} MB");
        group.bench_function(BenchmarkId::new(OURS, &size), |bencher| {
            bencher.iter_custom(|times| {
                let read = |(): &()| {
                    host.snap(&["mount", &name, folder])?;
                    first_byte(folder)
                };
                let unmount = |(), _| host.snap(&["unmount", folder]).map(drop);
                timed(times, || Ok(()), read, unmount)
            });
        });
        group.bench_function(BenchmarkId::new("ctr images mount", &size), |bencher| {
            bencher.iter_custom(|times| {
                let read = |(): &()| {
                    host.ctr(&["images", "mount", &image, folder])?.ok()?;
                    first_byte(folder)
                };
                let unmount = |(), _| {
                    let unmounted = host.ctr(&["images", "unmount", "--rm", folder])?;
                    unmounted.ok().map(drop)
                };
                timed(times, || Ok(()), read, unmount)
            });
        });
    }
    group.finish();
    Ok(())
}

fn first_byte(folder: &str) -> Result<u8> {
    let mut byte = [0];
    fs::File::open(Path::new(folder).join("noise"))?.read_exact(&mut byte)?;
    Ok(byte[0])
}

fn main() -> Result<()> {
    let mut criterion = criterion();
    let host = host_of_containers()?;
    for megabytes in SIZES_MB {
        make_snapshot(&host, megabytes)?;
    }
    restore_to_first_process(&mut criterion, &host);
    time_to_first_byte(&mut criterion, &host)?;
    criterion.final_summary();
    Ok(())
}
