//! Mount servers are killed, replaced and held up under readers that compare every byte. Needs root and /dev/fuse; every
//! mount and process is undone.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test may fail as the test itself"
)]

#[path = "../shared/capture.rs"]
mod capture;
mod deadline;
mod mounted;

use std::{
    fs::{self, File},
    io::Write,
    os::{fd::AsFd, unix::fs::FileExt},
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use mounted::{Mounted, Serving};
use rustix::fs::{Advice, fadvise};
use snap_fs::{
    mount::{is_mounted, unmount},
    serve::resend,
};
use snap_tests::{Dice, rounds, wait_for};

const READERS: usize = 8;
const READ_BYTES: usize = 64 << 10;
/// What is asked of long runs, on a machine that has nothing else to do.
const LONGEST_STALL: Duration = Duration::from_secs(1);
/// What holds on a machine that is loaded.
const BEARABLE_STALL: Duration = Duration::from_secs(20);
const FEW_SECONDS: Duration = Duration::from_secs(20);

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
        let is_long = rounds(0, 1) == 1;
        let bound = if is_long {
            LONGEST_STALL
        } else {
            BEARABLE_STALL
        };
        assert!(longest < bound, "{longest:?}");
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
