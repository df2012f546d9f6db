//! The mount server: FUSE requests answered from a view.
//!
//! The kernel is told to remember everything for ever, because a snapshot never changes; `open` and `opendir` are
//! answered with ENOSYS, after which the kernel opens without asking and keeps its caches between opens.
//! Numbers and listing offsets come from the snapshot alone and there are no handles, so that another server can
//! take over the same device at any time. For the same reason the device is never cloned.

use std::{
    ffi::OsStr,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    panic::{AssertUnwindSafe, catch_unwind},
};

use fuser::{
    Config, Errno, FileHandle, Filesystem, Generation, INodeNo, InitFlags, IoctlFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
    Session, SessionACL,
};
use tracing::{error, warn};

use crate::view::{Name, Result, Seek, View};

mod convert;
mod errors;
mod takeover;

pub use takeover::{Seat, resend};

use convert::{NO_ENTRY, attr, file_type};
use errors::{DamageLog, errno};

/// Largest FUSE request, and so the largest read.
const MAX_REQUEST_BYTES: u32 = 1 << 20;
/// Requests the kernel sends on its own (read-ahead) before it waits for answers.
const MAX_BACKGROUND: u16 = 64;
/// Entries fetched at once for a listing; about a kernel buffer full.
const LISTING_BATCH: usize = 128;
/// Block size shown by `statfs`.
const STATFS_BLOCK_BYTES: u32 = 4096;
/// Longest name shown by `statfs`.
const MAX_NAME_BYTES: u32 = 255;
/// A node never comes back as another one under its number.
const GENERATION: Generation = Generation(0);
/// All that is wanted of the kernel; what it does not offer is left out.
const WANTED: [InitFlags; 8] = [
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_CACHE_SYMLINKS,
    InitFlags::FUSE_NO_OPEN_SUPPORT,
    InitFlags::FUSE_NO_OPENDIR_SUPPORT,
    InitFlags::FUSE_EXPORT_SUPPORT,
    // Without it access lists are content, but do not decide about access.
    InitFlags::FUSE_POSIX_ACL,
];

/// Answers requests that come through `device` out of `view` with `threads` threads, until it is unmounted.
/// Calls `ready` once the kernel's first message is answered, which it sends when it mounts.
///
/// # Errors
/// What the device says, other than that the file system was unmounted.
pub fn serve(view: View, device: OwnedFd, threads: usize, ready: impl FnOnce()) -> io::Result<()> {
    let server = Server::new(view);
    let session = Session::from_fd(server, device, SessionACL::All, config(threads))?;
    ready();
    session.run()
}

/// Goes on answering requests in the place of a server that is gone, or is about to go. The kernel's first message
/// must have been answered already.
///
/// # Errors
/// As [`serve`], and when the session cannot take its `seat`.
pub fn take_over(
    view: View,
    seat: Seat,
    device: OwnedFd,
    threads: usize,
    ready: impl FnOnce(),
) -> io::Result<()> {
    let server = Server::new(view);
    let session = seat.session(server, &device, config(threads), MAX_REQUEST_BYTES)?;
    drop(device);
    ready();
    session.run()
}

fn config(threads: usize) -> Config {
    let mut config = Config::default();
    config.n_threads = Some(threads.max(1));
    config.acl = SessionACL::All;
    config
}

#[derive(Debug)]
struct Server {
    view: View,
    damage: DamageLog,
}

impl Server {
    fn new(view: View) -> Self {
        Self {
            view,
            damage: DamageLog::default(),
        }
    }

    /// Asks the view; a panic ends this request alone, not the thread that answers requests.
    fn ask<T>(&self, node: INodeNo, question: impl FnOnce(&View) -> Result<T>) -> Result<T, Errno> {
        match catch_unwind(AssertUnwindSafe(|| question(&self.view))) {
            Ok(answer) => answer.map_err(|problem| {
                self.damage.note(&self.view, node.0, &problem);
                errno(&problem)
            }),
            Err(_) => {
                error!(node = node.0, snapshot = %self.view.snapshot(), "A request panicked");
                Err(Errno::EIO)
            }
        }
    }

    /// Calls `add` for the names of a folder from `offset` on until it says that its buffer is full.
    fn list(
        &self,
        folder: INodeNo,
        mut offset: u64,
        mut add: impl FnMut(&Name) -> bool,
    ) -> Result<(), Errno> {
        loop {
            let names = self.ask(folder, |view| view.entries(folder.0, offset, LISTING_BATCH))?;
            let Some(last) = names.last() else {
                return Ok(());
            };
            offset = last.next;
            if names.iter().any(&mut add) {
                return Ok(());
            }
        }
    }
}

impl Filesystem for Server {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for flag in WANTED {
            if config.add_capabilities(flag).is_err() {
                warn!(?flag, "The kernel does not offer a FUSE feature");
            }
        }
        if let Err(most) = config.set_max_readahead(MAX_REQUEST_BYTES) {
            let _ = config.set_max_readahead(most);
        }
        let _ = config.set_max_write(MAX_REQUEST_BYTES);
        let _ = config.set_max_background(MAX_BACKGROUND);
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.ask(parent, |view| view.lookup(parent.0, name.as_bytes())) {
            Ok(Some(found)) => reply.entry(&View::VALID, &attr(&found), GENERATION),
            Ok(None) => reply.entry(&View::VALID, &NO_ENTRY, GENERATION),
            Err(errno) => reply.error(errno),
        }
    }

    fn getattr(&self, _request: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.ask(node, |view| view.attributes(node.0)) {
            Ok(found) => reply.attr(&View::VALID, &attr(&found)),
            Err(errno) => reply.error(errno),
        }
    }

    fn readlink(&self, _request: &Request, node: INodeNo, reply: ReplyData) {
        match self.ask(node, |view| view.read_link(node.0)) {
            Ok(target) => reply.data(&target),
            Err(errno) => reply.error(errno),
        }
    }

    fn open(&self, _request: &Request, _node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn opendir(&self, _request: &Request, _node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
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
        match self.ask(node, |view| view.read(node.0, offset, size)) {
            Ok(bytes) => reply.data(&bytes),
            Err(errno) => reply.error(errno),
        }
    }

    fn lseek(
        &self,
        _request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let answer = convert::seek(offset, whence).and_then(|(offset, what): (u64, Seek)| {
            self.ask(node, |view| view.seek(node.0, offset, what))
        });
        match answer {
            Ok(offset) => reply.offset(offset.cast_signed()),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdir(
        &self,
        _request: &Request,
        folder: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = self.list(folder, offset, |name| {
            let (node, kind) = (name.attributes.number, file_type(name.attributes.kind));
            reply.add(
                INodeNo(node),
                name.next,
                kind,
                OsStr::from_bytes(&name.name),
            )
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdirplus(
        &self,
        _request: &Request,
        folder: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let listed = self.list(folder, offset, |name| {
            let (about, bytes) = (attr(&name.attributes), OsStr::from_bytes(&name.name));
            reply.add(
                about.ino,
                name.next,
                bytes,
                &View::VALID,
                &about,
                GENERATION,
            )
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn getxattr(
        &self,
        _request: &Request,
        node: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        let answer = self.ask(node, |view| view.xattr(node.0, name.as_bytes()));
        answer_xattr(answer, size, reply);
    }

    fn listxattr(&self, _request: &Request, node: INodeNo, size: u32, reply: ReplyXattr) {
        let answer = self.ask(node, |view| view.xattr_names(node.0));
        answer_xattr(answer, size, reply);
    }

    fn statfs(&self, _request: &Request, _node: INodeNo, reply: ReplyStatfs) {
        let figures = self.view.figures();
        let (blocks, size) = (
            figures.bytes.div_ceil(u64::from(STATFS_BLOCK_BYTES)),
            STATFS_BLOCK_BYTES,
        );
        reply.statfs(blocks, 0, 0, figures.nodes, 0, size, MAX_NAME_BYTES, size);
    }

    /// There are no file flags to ask for: overlayfs asks when it copies a file up.
    fn ioctl(
        &self,
        _request: &Request,
        _node: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }
}

/// The value, or its length when that is all that was asked for.
fn answer_xattr(answer: Result<Vec<u8>, Errno>, size: u32, reply: ReplyXattr) {
    match answer {
        Ok(value) if size == 0 => reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX)),
        Ok(value) if value.len() > size as usize => reply.error(Errno::ERANGE),
        Ok(value) => reply.data(&value),
        Err(errno) => reply.error(errno),
    }
}
