//! A container runs before its data is read, and what is never touched is never read.

use std::fs;

use anyhow::{Context, Result};
use snap_api::Created;
use snap_tests::{Host, Image};

const BULK_BYTES: u64 = 2 << 30;

/// Bytes the process has asked the kernel for, from wherever they came.
fn read_bytes(pid: u32) -> Result<u64> {
    let counters = fs::read_to_string(format!("/proc/{pid}/io"))?;
    let line = counters
        .lines()
        .find_map(|line| line.strip_prefix("rchar: "));
    line.context("The kernel counts reads")?
        .parse()
        .context("Read the counter")
}

/// **R2** It starts before its data is read; data is read when it is touched.
#[test]
fn a_start_from_two_gigabytes_reads_less_than_two_percent() -> Result<()> {
    let host = Host::start()?;
    host.run_idle("one", Image::Debian)?;
    host.exec("one", &format!("head -c {BULK_BYTES} /dev/urandom > /bulk"))?;
    let created: Created = host.snap_json(&["create", "one", "--name", "large"])?;
    host.remove_by_ctr("one")?;
    host.snap(&["restore", "large", "--id", "two"])?;
    assert_eq!(host.exec("two", "echo runs")?, "runs");
    let server = *host
        .mount_servers()?
        .first()
        .context("A mount server runs")?;
    let at_start = read_bytes(server)?;
    let whole = created.snapshot.logical_bytes;
    assert!(whole > BULK_BYTES);
    assert!(
        at_start < whole / 50,
        "{at_start} of {whole} bytes were read"
    );
    host.exec(
        "two",
        "dd if=/bulk of=/dev/null bs=1M skip=1000 count=1 2>/dev/null",
    )?;
    let touched = read_bytes(server)? - at_start;
    assert!(
        touched < 32 << 20,
        "{touched} bytes were read for one megabyte"
    );
    Ok(())
}

#[test]
fn a_second_clone_reads_nothing_again() -> Result<()> {
    let host = Host::start()?;
    host.run_idle("one", Image::Busybox)?;
    host.exec("one", "head -c 20000000 /dev/urandom > /bulk")?;
    host.snap(&["create", "one", "--name", "site"])?;
    host.snap(&["restore", "site", "--id", "clone", "--count", "2"])?;
    host.exec("clone-1", "cat /bulk > /dev/null")?;
    let server = *host
        .mount_servers()?
        .first()
        .context("A mount server runs")?;
    let before = read_bytes(server)?;
    host.exec("clone-2", "cat /bulk > /dev/null")?;
    let again = read_bytes(server)? - before;
    assert!(again < 1_000_000, "{again} bytes were read again");
    Ok(())
}
