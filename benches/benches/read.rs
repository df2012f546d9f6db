//! How fast is a mounted snapshot read, cold and warm, in order and at random? The yardstick reads the same files natively.
//!
//! Cold: a fresh mount server, and the kernel has forgotten the packs and the native file alike.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use criterion::{Criterion, Throughput};
use snap_benches::{OURS, copy_tree, criterion, drop_caches, host_of_folders, timed};
use snap_tests::{Host, Image};

const NATIVE: &str = "native";
const BULK_BYTES: u64 = 200 << 20;
const RANDOM_READS: u64 = 500;
const READ_BYTES: usize = 4096;

/// A snapshot and the folder it was made of.
struct Sides {
    host: Host,
    native: PathBuf,
    mounted: PathBuf,
}

impl Sides {
    fn new() -> Result<Self> {
        let host = host_of_folders()?;
        let sides = Self {
            native: host.folder().join("native"),
            mounted: host.make_folder("mounted")?,
            host,
        };
        copy_tree(&Image::Debian.rootfs()?, &sides.native)?;
        fill(&sides.native.join("bulk"))?;
        let native = sides.native.to_str().context("The path is UTF-8")?;
        sides
            .host
            .snap(&["create", "--path", native, "--name", "tree"])?;
        sides.mount()?;
        Ok(sides)
    }

    fn mount(&self) -> Result<()> {
        let mounted = self.mounted.to_str().context("The path is UTF-8")?;
        self.host.snap(&["mount", "tree", mounted]).map(drop)
    }

    fn cool(&self) -> Result<()> {
        let mounted = self.mounted.to_str().context("The path is UTF-8")?;
        self.host.snap(&["unmount", mounted])?;
        drop_caches()?;
        self.mount()
    }

    fn both(&self) -> [(&'static str, &Path); 2] {
        [(OURS, &self.mounted), (NATIVE, &self.native)]
    }
}

/// Machine code, as programs are: this test's own, again and again with a number in between.
fn fill(path: &Path) -> Result<()> {
    let own = std::fs::read(std::env::current_exe()?)?;
    let mut file = File::create(path)?;
    let mut written = 0_u64;
    while written < BULK_BYTES {
        io::Write::write_all(&mut file, &written.to_le_bytes())?;
        let rest = usize::try_from(BULK_BYTES - written)?.min(own.len());
        io::Write::write_all(&mut file, &own[..rest])?;
        written += rest as u64 + 8;
    }
    Ok(())
}

fn read_whole(path: &Path) -> Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    while file.read(&mut buffer)? > 0 {}
    Ok(())
}

fn read_at_random(path: &Path) -> Result<()> {
    let file = File::open(path)?;
    let mut buffer = [0; READ_BYTES];
    let mut state = 1_u64;
    for _ in 0..RANDOM_READS {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let offset = (state >> 20) % (BULK_BYTES - READ_BYTES as u64);
        file.read_exact_at(&mut buffer, offset)?;
    }
    Ok(())
}

/// Reads every name, attribute and byte below the folder.
fn read_tree(path: &Path) -> Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let kind = entry.metadata()?.file_type();
        if kind.is_dir() {
            read_tree(&entry.path())?;
        } else if kind.is_file() {
            read_whole(&entry.path())?;
        }
    }
    Ok(())
}

type Reader = fn(&Path) -> Result<()>;

fn read(criterion: &mut Criterion, sides: &Sides) {
    let cases: [(&str, &str, Reader, Throughput); 3] = [
        (
            "sequential",
            "bulk",
            read_whole,
            Throughput::Bytes(BULK_BYTES),
        ),
        (
            "random_4k",
            "bulk",
            read_at_random,
            Throughput::Elements(RANDOM_READS),
        ),
        (
            "many_small_files",
            "usr",
            read_tree,
            Throughput::Elements(1),
        ),
    ];
    for (name, below, reader, throughput) in cases {
        let mut cold = criterion.benchmark_group(format!("read_cold_{name}"));
        cold.throughput(throughput.clone());
        for (side, folder) in sides.both() {
            cold.bench_function(side, |bencher| {
                let read = |(): &()| reader(&folder.join(below));
                bencher.iter_custom(|times| timed(times, || sides.cool(), read, |(), ()| Ok(())));
            });
        }
        cold.finish();
        let mut warm = criterion.benchmark_group(format!("read_warm_{name}"));
        warm.throughput(throughput);
        for (side, folder) in sides.both() {
            warm.bench_function(side, |bencher| {
                bencher.iter(|| reader(&folder.join(below)).expect("the folder can be read"));
            });
        }
        warm.finish();
    }
}

fn main() -> Result<()> {
    let mut criterion = criterion();
    let sides = Sides::new()?;
    read(&mut criterion, &sides);
    criterion.final_summary();
    Ok(())
}
