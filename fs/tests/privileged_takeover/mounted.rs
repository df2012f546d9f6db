//! A mounted snapshot and its servers.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use snap_fs::mount::{mount_fuse, unmount};
use snap_store::SnapshotId;
use snap_tests::{Dice, fixture_folder};
use tempfile::TempDir;

use crate::capture::capture;

const FILE_BYTES: usize = 4 << 20;
/// The content of the small file `other`.
pub(crate) const OTHER: &[u8] = b"other";

/// A snapshot of a large file and a small one, mounted; served by whoever is started.
pub(crate) struct Mounted {
    top: TempDir,
    snapshot: SnapshotId,
    pub(crate) content: Vec<u8>,
    device: Option<OwnedFd>,
}

impl Mounted {
    pub(crate) fn new() -> Self {
        let top = TempDir::new_in(fixture_folder("fs-takeover").unwrap()).unwrap();
        for name in ["source", "point"] {
            fs::create_dir(top.path().join(name)).unwrap();
        }
        let content = noise(FILE_BYTES);
        fs::write(top.path().join("source/file"), &content).unwrap();
        fs::write(top.path().join("source/other"), OTHER).unwrap();
        let snapshot = capture(&top.path().join("root"), &top.path().join("source"));
        let device = mount_fuse(&top.path().join("point"), "snapshotd:test").unwrap();
        Self {
            top,
            snapshot,
            content,
            device: Some(device),
        }
    }

    pub(crate) fn point(&self) -> PathBuf {
        self.top.path().join("point")
    }

    pub(crate) fn device(&self) -> OwnedFd {
        self.device.as_ref().unwrap().try_clone().unwrap()
    }

    /// The folder everything lies in.
    pub(crate) fn top(&self) -> &Path {
        self.top.path()
    }

    /// What servers have said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.top.path().join("log")).unwrap_or_default()
    }

    /// A server that has said `ready`.
    pub(crate) fn serve(&self, more: &[&str]) -> Child {
        self.serve_from("root", more)
    }

    /// A server that reads the store by another path below the folder.
    pub(crate) fn serve_from(&self, root: &str, more: &[&str]) -> Child {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.top.path().join("log"));
        let mut server = Command::new(env!("CARGO_BIN_EXE_snapshotd-mount"))
            .arg("serve")
            .arg("--root")
            .arg(self.top.path().join(root))
            .args(["--snapshot", &self.snapshot.to_string()])
            .args(more)
            .stdin(self.device())
            .stdout(Stdio::piped())
            .stderr(log.unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(server.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        // A process that is started while the test has the file open closes its copy, which the kernel tells the
        // server about until it has once been answered that nobody wants to know.
        drop(File::open(self.point().join("file")).unwrap());
        server
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Without the device no request waits any more, whether or not somebody serves.
        self.device = None;
        let _ = unmount(&self.point());
    }
}

/// A server that ends with its test.
pub(crate) struct Serving(pub(crate) Child);

impl Serving {
    pub(crate) fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Bytes that look random and do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut dice = Dice::new();
    let mut bytes = Vec::with_capacity(length + 4);
    while bytes.len() < length {
        bytes.extend((dice.below(1 << 31) as u32).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
