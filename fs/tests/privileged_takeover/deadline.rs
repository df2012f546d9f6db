//! A disk that hangs: the store lies on a FUSE mount whose server is stopped, so that whoever reads from it waits in the
//! kernel and cannot be called back, as with a dead disk or a network file system.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    os::unix::{
        fs::{FileExt, MetadataExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::fs::{Advice, fadvise};
use snap_fs::{mount::unmount, serve::Pulse};
use snap_tests::wait_for;

use crate::{
    FEW_SECONDS,
    capture::capture,
    mounted::{Mounted, OTHER, Serving},
};

/// More than the server answers at once.
const READERS: u64 = 6;
const THREADS: &str = "2";
const STEP: u64 = 512 << 10;

/// A snapshot that is served from a disk that can be made to hang. The disk goes first: nothing that waits for it ends before.
struct Hanging {
    disk: Serving,
    server: Serving,
    mounted: Mounted,
}

impl Hanging {
    fn new(deadline_ms: &str) -> Self {
        let mounted = Mounted::new();
        let top = mounted.top();
        fs::create_dir(top.join("disk")).unwrap();
        let disk = capture(&top.join("root-of-disk"), &top.join("root"));
        let mut disk = Command::new(env!("CARGO_BIN_EXE_snapshotd-mount"))
            .arg("mount")
            .arg("--root")
            .arg(top.join("root-of-disk"))
            .args(["--snapshot", &disk.to_string()])
            .arg(top.join("disk"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(disk.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let disk = Serving(disk);
        assert_eq!(line, "ready\n");
        read_nothing_ahead(&top.join("disk"));
        let pulse = top.join("pulse");
        let options = ["--threads", THREADS, "--read-deadline-ms", deadline_ms];
        let pulse = ["--pulse", pulse.to_str().unwrap()];
        let server = Serving(mounted.serve_from("disk", &[options.as_slice(), &pulse].concat()));
        Self {
            disk,
            server,
            mounted,
        }
    }

    fn signal_disk(&self, signal: Signal) {
        kill(Pid::from_raw(self.disk.0.id().cast_signed()), signal).unwrap();
    }

    /// Stops the disk, and then has the kernel forget its packs: what lies beside a small file was asked for with it, and may come late.
    fn hang(&self) {
        let packs = self.mounted.top().join("disk/packs");
        let mut open = Vec::new();
        for folder in fs::read_dir(packs).unwrap() {
            for pack in fs::read_dir(folder.unwrap().path()).unwrap() {
                let path = pack.unwrap().path();
                // Read whole, so that nothing is under way when it is forgotten.
                fs::read(&path).unwrap();
                open.push(File::open(path).unwrap());
            }
        }
        self.signal_disk(Signal::SIGSTOP);
        for pack in open {
            fadvise(pack, 0, None, Advice::DontNeed).unwrap();
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.mounted.point().join(name)
    }

    fn pulse(&self) -> Pulse {
        let mut text = String::new();
        let mut socket = UnixStream::connect(self.mounted.top().join("pulse")).unwrap();
        socket.read_to_string(&mut text).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Reads the small file past the page cache.
    fn other(&self) -> Vec<u8> {
        let mut file = File::open(self.path("other")).unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// Threads that each read a page of the large file, far from each other.
    fn readers(&self) -> Vec<thread::JoinHandle<io::Result<usize>>> {
        let reader = |number: u64| {
            let path = self.path("file");
            thread::spawn(move || {
                let file = File::open(path)?;
                fadvise(&file, 0, None, Advice::Random)?;
                file.read_at(&mut [0; 4096], number * STEP)
            })
        };
        (0..READERS).map(reader).collect()
    }
}

/// What the kernel reads ahead of a disk could be had although the disk hangs.
fn read_nothing_ahead(disk: &Path) {
    let device = fs::metadata(disk).unwrap().dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let setting = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    fs::write(setting, "0").unwrap();
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.disk.kill();
        let _ = unmount(&self.mounted.top().join("disk"));
        self.server.kill();
    }
}

/// **R19** A read that the disk under the store does not answer within `read_deadline` is an input/output error; whoever does not need that disk is served meanwhile.
#[test]
fn reads_of_a_disk_that_hangs_fail_after_the_deadline_and_others_are_served() {
    let hanging = Hanging::new("500");
    assert_eq!(hanging.other(), OTHER);
    hanging.hang();
    for reader in hanging.readers() {
        let error = reader.join().unwrap().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(nix::libc::EIO));
    }
    // As many threads as usually answer do not come back, and it is answered all the same.
    let lost = hanging.pulse().lost_threads;
    assert!(lost >= THREADS.parse().unwrap(), "{lost}");
    assert_eq!(hanging.other(), OTHER);
    assert!(hanging.pulse().refused >= READERS);
    let log = hanging.mounted.log();
    let line = log
        .lines()
        .find(|line| line.contains("not answered in time"));
    let line = line.unwrap();
    assert!(
        line.contains("path=/file") && line.contains("offset="),
        "{line}"
    );
    assert!(line.contains("waits_for="), "{line}");

    hanging.signal_disk(Signal::SIGCONT);
    let back = || Ok((hanging.pulse().lost_threads == 0).then_some(()));
    wait_for("the threads to come back", FEW_SECONDS, back).unwrap();
    assert!(fs::read(hanging.path("file")).unwrap() == hanging.mounted.content);
}

#[test]
fn what_is_in_flight_is_told_while_the_disk_hangs() {
    let hanging = Hanging::new("3600000");
    assert_eq!(hanging.other(), OTHER);
    hanging.hang();
    let readers = hanging.readers();
    let shown = wait_for("requests to be shown", FEW_SECONDS, || {
        let requests = hanging.pulse().requests;
        let is_named = |request: &&_| {
            let request: &snap_fs::serve::InFlight = request;
            request.kind == "read" && request.path.as_deref() == Some("/file")
        };
        // What a reader wants may be in the kernel's memory by chance; more than the usual threads wait all the same.
        let named = requests.iter().filter(is_named).count() as u64;
        Ok((named > THREADS.parse()?).then_some(requests))
    })
    .unwrap();
    assert!(shown.iter().all(|request| !request.refused));
    // Nobody has been refused, and who does not need the disk is served.
    assert_eq!(hanging.other(), OTHER);
    hanging.signal_disk(Signal::SIGCONT);
    for reader in readers {
        assert_eq!(reader.join().unwrap().unwrap(), 4096);
    }
}
