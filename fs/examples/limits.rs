//! What the machine takes for the parts of a cold read that no server can leave out: a request of FUSE, and a chunk to be decoded. As root:
//!
//! ```text
//! cargo run --release -p snap-fs --example limits -- FOLDER FILE
//! ```
//!
//! A store is made in FOLDER, which must be empty, of the first 64 MiB of FILE, and a server that does nothing is mounted there: it knows
//! every name and answers every read with the same bytes. One line each, microseconds behind a tab:
//!
//! - `look-up`: a name that was not asked for before;
//! - `read`: 4 KiB that are not in the page cache, by one reader;
//! - `decode`: 64 KiB of FILE out of a pack in the page cache, decompressed into memory and compared with their digest.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, LockOwner,
    OpenFlags, ReplyAttr, ReplyData, ReplyEntry, ReplyOpen, Request, Session, SessionACL,
};
use rustix::fs::{Advice, fadvise};
use snap_fs::mount::{mount_fuse, unmount};
use snap_store::{ContentReader, ContentSource, Silent, SnapshotId, Store};

const VALID: Duration = Duration::from_secs(3600);
const TIMES: u32 = 20_000;
const PAGE_BYTES: usize = 4 << 10;
/// Each name is a file of this size.
const FILE_BYTES: u64 = 1 << 40;
const CHUNK_BYTES: usize = 64 << 10;
const CONTENT_BYTES: u64 = 64 << 20;
/// Too little for a second read of a chunk to find it.
const CACHE_BYTES: u64 = 1 << 20;

/// A server that does nothing.
struct Nothing;

fn attributes(node: INodeNo) -> FileAttr {
    let (kind, perm) = match node == INodeNo::ROOT {
        true => (FileType::Directory, 0o755),
        false => (FileType::RegularFile, 0o444),
    };
    FileAttr {
        ino: node,
        size: FILE_BYTES,
        blocks: FILE_BYTES / 512,
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

impl Filesystem for Nothing {
    fn lookup(&self, _request: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name.to_str().and_then(|name| name.parse::<u64>().ok()) {
            Some(number) => reply.entry(&VALID, &attributes(INodeNo(number + 2)), Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&VALID, &attributes(node));
    }

    fn open(&self, _request: &Request, _node: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn read(
        &self,
        _request: &Request,
        _node: INodeNo,
        _handle: FileHandle,
        _offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock: Option<LockOwner>,
        reply: ReplyData,
    ) {
        reply.data(&[7; PAGE_BYTES][..PAGE_BYTES.min(size as usize)]);
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, file] = arguments.as_slice() else {
        anyhow::bail!("usage: limits FOLDER FILE");
    };
    let folder = Path::new(folder);
    say("decode", decode(&folder.join("store"), Path::new(file))?);
    let point = folder.join("point");
    fs::create_dir_all(&point).context("Make the mount point")?;
    let device = mount_fuse(&point, "limits")?;
    let mut config = Config::default();
    config.n_threads = Some(2);
    config.acl = SessionACL::All;
    let session = Session::from_fd(Nothing, device, SessionACL::All, config)?;
    let serving = std::thread::spawn(move || session.run());
    let asked = ask(&point);
    unmount(&point)?;
    let _ = serving.join();
    let (look_up, read) = asked?;
    say("look-up", look_up);
    say("read", read);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "it is what the program is for")]
fn say(what: &str, each: f64) {
    println!("{what}\t{each:.2}");
}

/// Microseconds each of many.
fn each(many: u32, mut one: impl FnMut(u32) -> io::Result<()>) -> io::Result<f64> {
    let begun = Instant::now();
    for number in 0..many {
        one(number)?;
    }
    Ok(begun.elapsed().as_secs_f64() * 1e6 / f64::from(many))
}

fn ask(point: &Path) -> Result<(f64, f64)> {
    let look_up = each(TIMES, |number| {
        fs::metadata(point.join(number.to_string())).map(drop)
    })?;
    let (file, mut page) = (File::open(point.join("0"))?, [0; PAGE_BYTES]);
    fadvise(&file, 0, None, Advice::Random)?;
    let read = each(TIMES, |number| {
        // Far from each other, and from what is there already.
        file.read_exact_at(&mut page, u64::from(number) << 20)
    })?;
    Ok((look_up, read))
}

fn decode(root: &Path, file: &Path) -> Result<f64> {
    let store = Store::ensure(root)?;
    let draft = store.begin(SnapshotId::random())?;
    let opened = File::open(file).with_context(|| format!("Open {}", file.display()))?;
    let (content, size) = draft.put_pages(&mut opened.take(CONTENT_BYTES), &Silent)?;
    draft.publish_chunks()?;
    let reader = ContentReader::new(ContentSource::plain(store, CACHE_BYTES), content, size);
    let chunks = u32::try_from(size / CHUNK_BYTES as u64)?;
    let mut buffer = Vec::with_capacity(CHUNK_BYTES);
    // Once so that the pack is in the page cache.
    let mut read = |number: u32| {
        buffer.clear();
        let offset = u64::from(number) * CHUNK_BYTES as u64;
        reader
            .read_into(offset, CHUNK_BYTES, &mut buffer)
            .map_err(io::Error::other)
    };
    each(chunks, &mut read)?;
    Ok(each(chunks, read)?)
}
