//! The mount server: FUSE requests answered from a view.
//!
//! The kernel is told to remember everything for ever, because a snapshot never changes; `open` and `opendir` are
//! answered with ENOSYS, after which the kernel opens without asking and keeps its caches between opens.
//! Numbers and listing offsets come from the snapshot alone and there are no handles, so that another server can
//! take over the same device at any time. For the same reason the device is never cloned.
//!
//! Every request that looks into the snapshot goes through the crew, which has a deadline for each.

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::PathBuf,
    time::Duration,
};

use fuser::{
    Config, Errno, FileHandle, Filesystem, Generation, INodeNo, InitFlags, IoctlFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
    Session, SessionACL,
};
use tracing::warn;

use crate::view::{Result, Seek, View};

mod answers;
mod convert;
mod crew;
mod errors;
mod flights;
mod pulse;
mod refusal;
mod standstill;
mod takeover;

pub use pulse::{InFlight, MAX_PULSE_BYTES, Pulse};
pub use takeover::{Seat, resend};

use answers::Answers;
use convert::{NO_ENTRY, attr, file_type};
use crew::{Crew, CrewOptions};
use flights::{About, Flight, Kind};
use pulse::Bound;
use takeover::refuse;

/// Largest FUSE request, and so the largest read.
const MAX_REQUEST_BYTES: u32 = 1 << 20;
/// Requests the kernel sends on its own (read-ahead) before it waits for answers.
const MAX_BACKGROUND: u16 = 64;
/// Threads there may be beside the usual ones while requests hang.
const HELPERS: usize = 64;
/// Block size shown by `statfs`.
const STATFS_BLOCK_BYTES: u32 = 4096;
/// Longest name shown by `statfs`.
const MAX_NAME_BYTES: u32 = 255;
/// A node never comes back as another one under its number.
const GENERATION: Generation = Generation(0);
/// All that is wanted of the kernel; what it does not offer is left out.
const WANTED: [InitFlags; 7] = [
    // For all of a folder: with READDIRPLUS_AUTO the kernel asks so for its first names alone, and then for each of the others once more
    // when somebody looks at them.
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_CACHE_SYMLINKS,
    InitFlags::FUSE_NO_OPEN_SUPPORT,
    InitFlags::FUSE_NO_OPENDIR_SUPPORT,
    InitFlags::FUSE_EXPORT_SUPPORT,
    // Without it access lists are content, but do not decide about access.
    InitFlags::FUSE_POSIX_ACL,
];

/// How a view is served.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Requests answered at once, as long as none of them hangs; 1 at least.
    pub threads: usize,
    /// After this long a request is refused with an input/output error.
    pub deadline: Duration,
    /// The socket at which the server says how it is.
    pub pulse: Option<PathBuf>,
}

/// Answers requests that come through `device` out of `view`, until it is unmounted.
/// Calls `ready` once the kernel's first message is answered, which it sends when it mounts.
///
/// # Errors
/// What the device says, other than that the file system was unmounted.
pub fn serve(
    view: View,
    device: OwnedFd,
    options: &ServeOptions,
    ready: impl FnOnce(),
) -> io::Result<()> {
    let copy = device.try_clone()?;
    let begin = move |server, config| Session::from_fd(server, device, SessionACL::All, config);
    run(Server::new(view, copy, options), options, begin, ready)
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
    options: &ServeOptions,
    ready: impl FnOnce(),
) -> io::Result<()> {
    let copy = device.try_clone()?;
    let begin = move |server, config| seat.session(server, &device, config, MAX_REQUEST_BYTES);
    run(Server::new(view, copy, options), options, begin, ready)
}

fn run(
    server: Server,
    options: &ServeOptions,
    begin: impl FnOnce(Server, Config) -> io::Result<Session<Server>>,
    ready: impl FnOnce(),
) -> io::Result<()> {
    let pulse = options.pulse.as_deref().map(Bound::new).transpose();
    let crew = server.crew.clone();
    let session = begin(server, config(&crew))?;
    let answering = pulse.and_then(|pulse| match pulse {
        Some(pulse) => pulse.answer(move || crew.answers().pulse(&crew.report())),
        None => Ok(()),
    });
    if let Err(error) = answering {
        warn!(%error, "Nobody can ask how this server is");
    }
    ready();
    session.run()
}

fn config(crew: &Crew<Answers>) -> Config {
    let mut config = Config::default();
    config.n_threads = Some(crew.takers());
    config.acl = SessionACL::All;
    config
}

#[derive(Debug)]
struct Server {
    crew: Crew<Answers>,
}

impl Server {
    fn new(view: View, device: OwnedFd, options: &ServeOptions) -> Self {
        let crew = CrewOptions {
            at_once: options.threads.max(1),
            helpers: HELPERS,
            deadline: options.deadline,
            on_standstill: standstill::give_way,
        };
        let on_refusal = move |answers: &Answers, flight: &Flight| {
            // What no thread is at is answered when its reply is dropped.
            if flight.thread.is_some() {
                refuse(device.as_fd(), flight.about.unique);
            }
            answers.tell_of_refusal(flight);
        };
        Self {
            crew: Crew::new(Answers::new(view), crew, Box::new(on_refusal)),
        }
    }
}

/// What a request asks for that looks at a node.
fn about(request: &Request, kind: Kind, node: INodeNo) -> About {
    About {
        unique: request.unique().0,
        kind,
        node: node.0,
        offset: 0,
        size: 0,
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

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = name.as_bytes().to_vec();
        let about = about(request, Kind::LookUp, parent);
        self.crew.submit(about, move |answers| {
            match answers.ask(parent, |view| view.lookup(parent.0, &name)) {
                Ok(Some(found)) => reply.entry(&View::VALID, &attr(&found), GENERATION),
                Ok(None) => reply.entry(&View::VALID, &NO_ENTRY, GENERATION),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn getattr(&self, request: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let about = about(request, Kind::Attributes, node);
        self.crew.submit(about, move |answers| {
            match answers.ask(node, |view| view.attributes(node.0)) {
                Ok(found) => reply.attr(&View::VALID, &attr(&found)),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn readlink(&self, request: &Request, node: INodeNo, reply: ReplyData) {
        let about = about(request, Kind::Link, node);
        self.crew.submit(about, move |answers| {
            match answers.ask(node, |view| view.read_link(node.0)) {
                Ok(target) => reply.data(&target),
                Err(errno) => reply.error(errno),
            }
        });
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
        request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let about = about(request, Kind::Read, node).at(offset, size);
        self.crew.submit(about, move |answers| {
            match answers.ask(node, |view| view.read(node.0, offset, size)) {
                Ok(bytes) => reply.data(&bytes),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn lseek(
        &self,
        request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let (offset, what): (u64, Seek) = match convert::seek(offset, whence) {
            Ok(asked) => asked,
            Err(errno) => return reply.error(errno),
        };
        let about = about(request, Kind::Seek, node).at(offset, 0);
        self.crew.submit(about, move |answers| {
            match answers.ask(node, |view| view.seek(node.0, offset, what)) {
                Ok(offset) => reply.offset(offset.cast_signed()),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn readdir(
        &self,
        request: &Request,
        folder: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let about = about(request, Kind::List, folder).at(offset, 0);
        self.crew.submit(about, move |answers| {
            let listed = answers.list(folder, offset, |name| {
                let (node, kind) = (name.attributes.number, file_type(name.attributes.kind));
                let bytes = OsStr::from_bytes(&name.name);
                reply.add(INodeNo(node), name.next, kind, bytes)
            });
            match listed {
                Ok(()) => reply.ok(),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn readdirplus(
        &self,
        request: &Request,
        folder: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let about = about(request, Kind::List, folder).at(offset, 0);
        self.crew.submit(about, move |answers| {
            let listed = answers.list(folder, offset, |name| {
                let (about, bytes) = (attr(&name.attributes), OsStr::from_bytes(&name.name));
                let valid = &View::VALID;
                reply.add(about.ino, name.next, bytes, valid, &about, GENERATION)
            });
            match listed {
                Ok(()) => reply.ok(),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn getxattr(
        &self,
        request: &Request,
        node: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        let name = name.as_bytes().to_vec();
        let about = about(request, Kind::Attribute, node);
        self.crew.submit(about, move |answers| {
            let answer = answers.ask(node, |view| view.xattr(node.0, &name));
            answer_xattr(answer, size, reply);
        });
    }

    fn listxattr(&self, request: &Request, node: INodeNo, size: u32, reply: ReplyXattr) {
        let about = about(request, Kind::AttributeNames, node);
        self.crew.submit(about, move |answers| {
            let answer = answers.ask(node, |view| view.xattr_names(node.0));
            answer_xattr(answer, size, reply);
        });
    }

    fn statfs(&self, _request: &Request, _node: INodeNo, reply: ReplyStatfs) {
        let figures = self.crew.answers().view.figures();
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
