//! What one mount needed first is read ahead for the next: counters of a real server on a real mount.
//! Needs root and /dev/fuse; every mount and process is undone.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test may fail as the test itself"
)]

#[path = "shared/capture.rs"]
mod capture;

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use capture::capture;
use snap_fs::{
    mount::{mount_fuse, unmount},
    serve::Pulse,
};
use snap_store::SnapshotId;
use snap_tests::{fixture_folder, wait_for};
use tempfile::TempDir;

const A_WHILE: Duration = Duration::from_secs(60);
const FILES: usize = 8;

/// A store with a snapshot of some files.
struct Bench {
    top: TempDir,
    snapshot: SnapshotId,
}

/// A mount and the server it has now.
struct Mount<'a> {
    bench: &'a Bench,
    device: Option<OwnedFd>,
    server: Option<Child>,
}

impl Bench {
    fn new() -> Self {
        let top = TempDir::new_in(fixture_folder("fs-trace").unwrap()).unwrap();
        for name in ["source", "point", "root"] {
            fs::create_dir(top.path().join(name)).unwrap();
        }
        for number in 0..FILES {
            let path = top.path().join(format!("source/{number}"));
            fs::write(path, content(number)).unwrap();
        }
        let snapshot = capture(&top.path().join("root"), &top.path().join("source"));
        Self { top, snapshot }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.top.path().join(name)
    }

    fn traces(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("traces")).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// A fresh mount, as the daemon makes one.
    fn mount(&self) -> Mount<'_> {
        let device = mount_fuse(&self.path("point"), "snapshotd:test").unwrap();
        let mut mount = Mount {
            bench: self,
            device: Some(device),
            server: None,
        };
        mount.server = Some(mount.serve(&["--traces", self.path("traces").to_str().unwrap()]));
        mount
    }
}

impl Mount<'_> {
    fn serve(&self, more: &[&str]) -> Child {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.bench.path("log"));
        let mut server = Command::new(env!("CARGO_BIN_EXE_snapshotd-mount"))
            .arg("serve")
            .arg("--root")
            .arg(self.bench.path("root"))
            .args(["--snapshot", &self.bench.snapshot.to_string()])
            .arg("--pulse")
            .arg(self.bench.path("pulse"))
            .args(more)
            .stdin(self.device.as_ref().unwrap().try_clone().unwrap())
            .stdout(Stdio::piped())
            .stderr(log.unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(server.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        server
    }

    fn read(&self, files: &[usize]) {
        for number in files {
            let path = self.bench.path("point").join(number.to_string());
            assert_eq!(fs::read(path).unwrap(), content(*number));
        }
    }

    fn pulse(&self) -> Pulse {
        let mut text = String::new();
        let mut socket = UnixStream::connect(self.bench.path("pulse")).unwrap();
        socket.read_to_string(&mut text).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Waits until so many bytes were read ahead.
    fn foresees(&self, bytes: u64) -> Pulse {
        wait_for("what is read ahead", A_WHILE, || {
            let pulse = self.pulse();
            Ok((pulse.foreseen_bytes >= bytes).then_some(pulse))
        })
        .unwrap()
    }

    /// Unmounts and waits until the server has ended, content with itself.
    fn end(mut self) {
        self.device = None;
        unmount(&self.bench.path("point")).unwrap();
        let server = self.server.as_mut().unwrap();
        let status = wait_for("the server's end", A_WHILE, || Ok(server.try_wait()?));
        assert!(status.unwrap().success());
        self.server = None;
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        self.device = None;
        let _ = unmount(&self.bench.path("point"));
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// The content of a file: several chunks that compress.
fn content(number: usize) -> Vec<u8> {
    let lines = (0..40_000).flat_map(|line| format!("{number} {line}\n").into_bytes());
    lines.collect()
}

/// A first mount that has needed these files.
fn first_mount(bench: &Bench, files: &[usize]) -> u64 {
    let mount = bench.mount();
    mount.read(files);
    let needed = mount.pulse().late_bytes;
    assert!(needed > 0 && mount.pulse().foreseen_bytes == 0);
    mount.end();
    needed
}

fn replaced(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}

#[test]
fn the_second_mount_has_read_what_the_first_one_needed_before_it_is_asked() {
    let bench = Bench::new();
    let needed = first_mount(&bench, &[5, 2]);
    assert_eq!(bench.traces().len(), 1);
    let mount = bench.mount();
    let before = mount.foresees(needed);
    mount.read(&[5, 2]);
    let after = mount.pulse();
    assert!(before.foreseen_bytes >= needed && after.met_bytes >= needed / 2);
    assert_eq!(after.late_bytes, before.late_bytes);
    mount.read(&[7]);
    assert!(mount.pulse().late_bytes > after.late_bytes);
    mount.end();
}

#[test]
fn a_trace_that_is_damaged_is_replaced_and_what_is_shown_is_right() {
    let bench = Bench::new();
    first_mount(&bench, &[1]);
    let path = bench.traces().remove(0);
    let sound = fs::read(&path).unwrap();
    for damaged in [&b""[..], &sound[..sound.len() - 1], &vec![0xff; 2 << 20]] {
        replaced(&path, damaged);
        let mount = bench.mount();
        mount.read(&[1, 3]);
        assert_eq!(mount.pulse().foreseen_bytes, 0);
        mount.end();
        assert!(fs::read(&path).unwrap().len() > sound.len());
    }
}

#[test]
fn a_folder_that_cannot_be_written_to_keeps_nobody_from_mounting() {
    let bench = Bench::new();
    replaced(&bench.path("traces"), b"no folder");
    let mount = bench.mount();
    mount.read(&[0]);
    mount.end();
    assert_eq!(fs::read(bench.path("traces")).unwrap(), b"no folder");
}

#[test]
fn a_server_that_takes_over_while_another_reads_ahead_serves_the_same_bytes_and_notes_nothing() {
    let bench = Bench::new();
    let all: Vec<usize> = (0..FILES).collect();
    first_mount(&bench, &all);
    let path = bench.traces().remove(0);
    let before = fs::read(&path).unwrap();
    let mut mount = bench.mount();
    mount.read(&[3]);
    let mut old = mount.server.take().unwrap();
    old.kill().unwrap();
    old.wait().unwrap();
    let traces = bench.path("traces");
    mount.server = Some(mount.serve(&["--resume", "--traces", traces.to_str().unwrap()]));
    mount.read(&all);
    assert_eq!(mount.pulse().foreseen_bytes, 0);
    mount.end();
    assert_eq!(fs::read(&path).unwrap(), before);
}
