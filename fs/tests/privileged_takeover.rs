//! Mount servers are killed and replaced under readers that compare every byte. Needs root and /dev/fuse; every
//! mount and process is undone.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test may fail as the test itself"
)]

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{Advice, fadvise};
use snap_fs::{
    capture::{Exclude, Source, SourceKind, StatCache, build, scan, warm},
    mount::{is_mounted, mount_fuse, unmount},
    serve::resend,
};
use snap_store::{HostFacts, Manifest, Origin, Silent, SnapshotId, Store};
use snap_tests::{Dice, fixture_folder, rounds, wait_for};
use tempfile::TempDir;

const READERS: usize = 8;
const FILE_BYTES: usize = 4 << 20;
const READ_BYTES: usize = 64 << 10;
const LONGEST_STALL: Duration = Duration::from_secs(1);
const FEW_SECONDS: Duration = Duration::from_secs(10);

/// A snapshot of one file, mounted; served by whoever is started.
struct Mounted {
    top: TempDir,
    snapshot: SnapshotId,
    content: Vec<u8>,
    device: Option<OwnedFd>,
}

impl Mounted {
    fn new() -> Self {
        let top = TempDir::new_in(fixture_folder("fs-takeover").unwrap()).unwrap();
        for name in ["source", "point"] {
            fs::create_dir(top.path().join(name)).unwrap();
        }
        let content = noise(FILE_BYTES);
        fs::write(top.path().join("source/file"), &content).unwrap();
        let snapshot = capture(&top.path().join("root"), &top.path().join("source"));
        let device = mount_fuse(&top.path().join("point"), "snapshotd:test").unwrap();
        Self {
            top,
            snapshot,
            content,
            device: Some(device),
        }
    }

    fn point(&self) -> PathBuf {
        self.top.path().join("point")
    }

    fn device(&self) -> OwnedFd {
        self.device.as_ref().unwrap().try_clone().unwrap()
    }

    /// A server that has said `ready`.
    fn serve(&self, more: &[&str]) -> Child {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.top.path().join("log"));
        let mut server = Command::new(env!("CARGO_BIN_EXE_snapshotd-mount"))
            .arg("serve")
            .arg("--root")
            .arg(self.top.path().join("root"))
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
struct Serving(Child);

impl Serving {
    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.kill();
    }
}

fn capture(root: &Path, folder: &Path) -> SnapshotId {
    let store = Store::ensure(root).unwrap();
    let id = SnapshotId::random();
    let draft = store.begin(id).unwrap();
    let top = File::open(folder).unwrap();
    let (exclude, mut cache) = (Exclude::default(), StatCache::default());
    let source = Source {
        folder: top.as_fd(),
        kind: SourceKind::Plain,
        exclude: &exclude,
    };
    warm(&draft, &source, &mut cache, &Silent).unwrap();
    let scanned = scan(&source, &cache, &Silent).unwrap();
    let tree = build(&draft, scanned, None, &mut cache, &Silent).unwrap();
    let manifest = Manifest {
        id,
        namespace: "default".parse().unwrap(),
        created_at: 0,
        name: None,
        expires_at: None,
        labels: Default::default(),
        root: tree.root,
        root_meta: tree.root_meta,
        links: tree.links,
        logical_bytes: tree.logical_bytes,
        stored_bytes: 0,
        pause_us: 0,
        origin: Origin::Path(folder.display().to_string()),
        host: HostFacts::default(),
    };
    draft.commit(manifest).unwrap();
    id
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

/// What readers have met.
#[derive(Default)]
struct Seen {
    is_over: AtomicBool,
    reads: AtomicU64,
    wrong: AtomicU64,
    failed: AtomicU64,
    longest_us: AtomicU64,
}

impl Seen {
    /// Reads pieces of the file past the page cache and compares them until told to stop.
    fn read(&self, path: &Path, content: &[u8]) {
        let (file, mut dice) = (File::open(path).unwrap(), Dice::new());
        let mut piece = vec![0; READ_BYTES];
        while !self.is_over.load(Ordering::Relaxed) {
            fadvise(&file, 0, None, Advice::DontNeed).unwrap();
            let offset = dice.below((content.len() - READ_BYTES) as u64);
            let begun = Instant::now();
            let read = file.read_exact_at(&mut piece, offset);
            let micros = begun.elapsed().as_micros() as u64;
            self.longest_us.fetch_max(micros, Ordering::Relaxed);
            let offset = offset as usize;
            let is_right = piece == content[offset..offset + READ_BYTES];
            match read {
                Ok(()) if is_right => self.reads.fetch_add(1, Ordering::Relaxed),
                Ok(()) => self.wrong.fetch_add(1, Ordering::Relaxed),
                Err(_) => self.failed.fetch_add(1, Ordering::Relaxed),
            };
        }
    }

    fn is_clean(&self) {
        let figure = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let longest = Duration::from_micros(figure(&self.longest_us));
        let _ = writeln!(
            std::io::stderr(),
            "reads {} wrong {} failed {} longest {longest:?}",
            figure(&self.reads),
            figure(&self.wrong),
            figure(&self.failed)
        );
        assert!(figure(&self.reads) > 0);
        assert_eq!((figure(&self.wrong), figure(&self.failed)), (0, 0));
        assert!(longest < LONGEST_STALL, "{longest:?}");
    }
}

/// Tells the readers that it is over, also after a panic.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `act` while eight readers read.
fn under_readers(mounted: &Mounted, act: impl FnOnce()) {
    let (seen, path) = (Seen::default(), mounted.point().join("file"));
    thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| seen.read(&path, &mounted.content));
        }
        let _over = Over(&seen.is_over);
        act();
    });
    seen.is_clean();
}

#[test]
fn readers_of_a_server_killed_again_and_again_see_no_error_and_no_wrong_byte() {
    let mounted = Mounted::new();
    let mut server = Serving(mounted.serve(&[]));
    let mut dice = Dice::new();
    under_readers(&mounted, || {
        for _ in 0..rounds(20, 200) {
            thread::sleep(Duration::from_millis(50 + dice.below(100)));
            server.kill();
            server = Serving(mounted.serve(&["--resume"]));
        }
        thread::sleep(Duration::from_millis(100));
    });
}

#[test]
fn readers_see_nothing_of_a_server_that_replaces_a_living_one() {
    let mounted = Mounted::new();
    let mut server = Serving(mounted.serve(&[]));
    under_readers(&mounted, || {
        for _ in 0..rounds(10, 50) {
            thread::sleep(Duration::from_millis(50));
            let next = Serving(mounted.serve(&["--resume"]));
            drop(std::mem::replace(&mut server, next));
            resend(mounted.device().as_fd()).unwrap();
        }
        thread::sleep(Duration::from_millis(100));
    });
}

#[test]
fn a_read_that_waits_for_no_server_ends_when_there_is_one() {
    let mounted = Mounted::new();
    drop(Serving(mounted.serve(&[])));
    let path = mounted.point().join("file");
    let waiting = thread::spawn(move || fs::read(path).unwrap());
    thread::sleep(Duration::from_millis(200));
    assert!(!waiting.is_finished());
    let _server = Serving(mounted.serve(&["--resume"]));
    assert!(waiting.join().unwrap() == mounted.content);
}

#[test]
fn a_server_that_took_over_ends_when_its_mount_is_gone() {
    let mounted = Mounted::new();
    drop(Serving(mounted.serve(&[])));
    let mut server = Serving(mounted.serve(&["--resume"]));
    assert!(fs::read(mounted.point().join("file")).unwrap() == mounted.content);
    unmount(&mounted.point()).unwrap();
    let ended = wait_for("the server's end", FEW_SECONDS, || {
        Ok(server.0.try_wait()?)
    });
    assert!(ended.unwrap().success());
    assert!(!is_mounted(&mounted.point()).unwrap());
}
