//! What an open costs by the ways a FUSE server can answer it, and what passing a file through brings. As root:
//!
//! ```text
//! cargo run --release -p snap-fs --example open_cost -- FOLDER
//! ```
//!
//! FOLDER lies on a disk's file system. In it a file of 4 KiB and one of 64 MiB are made, and mounted three times: `open` answered with
//! ENOSYS, so that the kernel asks no more; answered each time, keeping the cache; and passed through to the file, one backing id a
//! file. Beside them the files themselves. Microseconds for open, read and close of the small file in the page cache, and
//! gigabytes a second of the large one in the page cache.

use std::{
    collections::{HashMap, hash_map::Entry},
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::FileExt,
    path::Path,
    sync::Mutex,
    time::{Duration, Instant, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use fuser::{
    BackingId, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty,
    ReplyEntry, ReplyOpen, Request, Session, SessionACL,
};
use snap_fs::mount::{mount_fuse, raise_read_ahead, unmount};

const VALID: Duration = Duration::from_secs(3600);
const SMALL_BYTES: u64 = 4 << 10;
const LARGE_BYTES: u64 = 64 << 20;
const OPENS: u32 = 20_000;
const READS: u32 = 20;
const MAX_READ_BYTES: u32 = 1 << 20;

/// How `open` is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    NotAtAll,
    EachTime,
    PassedThrough,
}

/// Two files, by number.
struct Files {
    open: Open,
    files: HashMap<u64, (File, u64)>,
    backing: Mutex<HashMap<u64, BackingId>>,
}

impl Files {
    fn attributes(&self, node: u64) -> FileAttr {
        let file = self.files.get(&node);
        let (kind, perm) = match file {
            Some(_) => (FileType::RegularFile, 0o444),
            None => (FileType::Directory, 0o755),
        };
        let size = file.map_or(SMALL_BYTES, |(_, size)| *size);
        FileAttr {
            ino: INodeNo(node),
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    fn pass_through(&self, node: u64, reply: ReplyOpen) {
        let mut backing = self.backing.lock().expect("nobody panics with the lock");
        // The kernel refuses a second id for a file that is open.
        let id = match backing.entry(node) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => match reply.open_backing(&self.files[&node].0) {
                Ok(id) => new.insert(id),
                Err(_) => return reply.error(Errno::EIO),
            },
        };
        reply.opened_passthrough(FileHandle(0), FopenFlags::empty(), id);
    }
}

impl Filesystem for Files {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let _ = config.add_capabilities(InitFlags::FUSE_NO_OPEN_SUPPORT);
        if self.open == Open::PassedThrough {
            let _ = config.add_capabilities(InitFlags::FUSE_PASSTHROUGH);
            let _ = config.set_max_stack_depth(1);
        }
        if let Err(most) = config.set_max_readahead(MAX_READ_BYTES) {
            let _ = config.set_max_readahead(most);
        }
        let _ = config.set_max_write(MAX_READ_BYTES);
        Ok(())
    }

    fn lookup(&self, _request: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name.to_str() {
            Some("small") => reply.entry(&VALID, &self.attributes(2), Generation(0)),
            Some("large") => reply.entry(&VALID, &self.attributes(3), Generation(0)),
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&VALID, &self.attributes(node.0));
    }

    fn open(&self, _request: &Request, node: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.open {
            Open::NotAtAll => reply.error(Errno::ENOSYS),
            Open::EachTime => reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
            Open::PassedThrough => self.pass_through(node.0, reply),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn read(
        &self,
        _request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut bytes = vec![0; size as usize];
        match self.files[&node.0].0.read_at(&mut bytes, offset) {
            Ok(length) => reply.data(&bytes[..length]),
            Err(_) => reply.error(Errno::EIO),
        }
    }
}

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).context("Name a folder")?;
    let top = Path::new(&folder).join("open-cost");
    let point = top.join("point");
    fs::create_dir_all(&point).context("Make folders")?;
    for (name, bytes) in [("small", SMALL_BYTES), ("large", LARGE_BYTES)] {
        fs::write(top.join(name), vec![7; bytes as usize]).context("Make files")?;
    }
    let measured = measure_all(&top, &point);
    fs::remove_dir_all(&top).context("Clear away")?;
    measured
}

fn measure_all(top: &Path, point: &Path) -> Result<()> {
    show("the files themselves", top)?;
    for open in [Open::NotAtAll, Open::EachTime, Open::PassedThrough] {
        let opened = |name: &str, bytes| Ok::<_, io::Error>((File::open(top.join(name))?, bytes));
        let files = [
            (2, opened("small", SMALL_BYTES)?),
            (3, opened("large", LARGE_BYTES)?),
        ];
        let files = Files {
            open,
            files: files.into(),
            backing: Mutex::default(),
        };
        let device = mount_fuse(point, "open-cost")?;
        let mut config = Config::default();
        config.n_threads = Some(2);
        config.acl = SessionACL::All;
        let session = Session::from_fd(files, device, SessionACL::All, config)?;
        let serving = std::thread::spawn(move || session.run());
        let shown = raise_read_ahead(point)
            .map_err(anyhow::Error::from)
            .and_then(|()| show(&format!("open {open:?}"), point));
        unmount(point)?;
        let _ = serving.join();
        shown?;
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "it is what the program is for")]
fn show(what: &str, folder: &Path) -> Result<()> {
    let (small, large) = (folder.join("small"), folder.join("large"));
    let mut buffer = vec![0; LARGE_BYTES as usize];
    let mut read = |path: &Path| -> io::Result<usize> {
        let mut file = File::open(path)?;
        let mut filled = 0;
        while let length @ 1.. = file.read(&mut buffer[filled..])? {
            filled += length;
        }
        Ok(filled)
    };
    read(&small)?;
    read(&large)?;
    let begun = Instant::now();
    for _ in 0..OPENS {
        read(&small)?;
    }
    let each = begun.elapsed().as_secs_f64() * 1e6 / f64::from(OPENS);
    let begun = Instant::now();
    for _ in 0..READS {
        read(&large)?;
    }
    let rate = LARGE_BYTES as f64 * f64::from(READS) / begun.elapsed().as_secs_f64() / 1e9;
    println!("{what:24} {each:7.1} µs to open, read and close 4 KiB; {rate:5.1} GB/s");
    Ok(())
}
