//! What the commands of `snapshotd-mount` do.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal};
use snap_fs::{
    foresee::{ForeseeOptions, Foreseeing},
    holder,
    mount::{is_fuse_device, mount_fuse, raise_read_ahead, unmount},
    serve::{self, Seat, ServeOptions},
    traces::TraceFolder,
    view::{View, ViewOptions},
};
use snap_store::{Access, KeyFolder, Store};
use tracing::{info, warn};

use crate::{Serving, upkeep};

/// The part of the chunk cache for what was read because of a trace and is not needed yet. Half of the cache is for what was not asked for twice:
/// readers in order, who are led too, need the rest of that.
const FORESEEN_SHARE: u64 = 4;

/// Serves the device on standard input; goes on with it when it was served before.
pub(crate) fn serve(serving: &Serving, resume: bool, pulse: Option<PathBuf>) -> Result<()> {
    let device = take_device()?;
    // Before the first thread, which might open a file in the place of standard input.
    let seat = resume.then(Seat::take).transpose();
    let seat = seat.context("Prepare to take over")?;
    leave_session();
    let store = open_store(serving)?;
    let view = open(serving, &store)?;
    // A mount that was served before is no cold start: neither would a trace help it, nor it a trace.
    let foreseeing = (!resume).then(|| foresee(serving, &store, &view)).flatten();
    let options = options(serving, pulse);
    info!(snapshot = %serving.snapshot, resume, "Serving");
    let ready = || say_ready(&serving.snapshot);
    match seat {
        None => serve::serve(view, device, &options, ready),
        Some(seat) => serve::take_over(view, seat, device, &options, ready),
    }
    .context("Serve the mount")?;
    foreseeing.into_iter().for_each(Foreseeing::end);
    info!(snapshot = %serving.snapshot, "The mount is gone");
    Ok(())
}

/// Mounts, serves, and unmounts when interrupted.
pub(crate) fn mount(serving: &Serving, folder: &Path) -> Result<()> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    // Before the first thread, so that every thread leaves them to the one that waits.
    signals.thread_block().context("Block signals")?;
    let store = open_store(serving)?;
    let view = open(serving, &store)?;
    let name = format!("snapshotd:{:.12}", serving.snapshot.to_string());
    let device = mount_fuse(folder, &name)?;
    let mounted = Mounted(folder.to_owned());
    unmount_when_interrupted(signals, folder.to_owned());
    let foreseeing = foresee(serving, &store, &view);
    let served = serve::serve(view, device, &options(serving, None), || {
        if let Err(error) = raise_read_ahead(folder) {
            warn!(%error, "The kernel reads ahead no further than usual");
        }
        say_ready(&serving.snapshot);
    });
    drop(mounted);
    foreseeing.into_iter().for_each(Foreseeing::end);
    served.context("Serve the mount")
}

/// Holds descriptors.
pub(crate) fn hold(socket: &Path) -> Result<()> {
    leave_session();
    std::env::set_current_dir("/").context("Leave the working folder")?;
    holder::hold(socket, holder::IDLE, || say_ready(&"holder")).context("Hold descriptors")
}

/// A mount that does not outlive its server.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.0) {
            warn!(%error, "Cannot unmount");
        }
    }
}

fn unmount_when_interrupted(signals: SigSet, folder: PathBuf) {
    thread::spawn(move || {
        if signals.wait().is_ok() {
            drop(Mounted(folder));
        }
    });
}

/// Standard input, which must be the FUSE device; /dev/null stands there afterwards.
fn take_device() -> Result<OwnedFd> {
    let stdin = io::stdin();
    if !is_fuse_device(stdin.as_fd()).context("Look at standard input")? {
        bail!(
            "Standard input is not /dev/fuse: the daemon starts this command, people use `mount`"
        );
    }
    let device = stdin
        .as_fd()
        .try_clone_to_owned()
        .context("Duplicate standard input")?;
    let null = File::open("/dev/null").context("Open /dev/null")?;
    nix::unistd::dup2_stdin(null).context("Let go of standard input")?;
    Ok(device)
}

fn open_store(serving: &Serving) -> Result<Store> {
    let store = Store::open(&serving.root, Access::ReadOnly).context("Open the store")?;
    upkeep::start(store.clone());
    Ok(store)
}

fn open(serving: &Serving, store: &Store) -> Result<View> {
    let options = ViewOptions {
        cache_bytes: serving.cache_bytes,
        ..ViewOptions::default()
    };
    let opened = match serving.memory {
        true => {
            let keys = KeyFolder::new(&serving.keys);
            View::open_memory(store.clone(), &serving.snapshot, &keys, &options)
        }
        false => View::open(store.clone(), &serving.snapshot, &options),
    };
    opened.context("Open the snapshot")
}

/// Reads ahead what an earlier mount needed, when there is a folder for that.
fn foresee(serving: &Serving, store: &Store, view: &View) -> Option<Foreseeing> {
    let folder = serving.traces.as_deref().filter(|_| !serving.memory)?;
    let options = ForeseeOptions {
        most_bytes: serving.prefetch_bytes,
        ahead_bytes: serving.cache_bytes / FORESEEN_SHARE,
        bytes_per_second: serving.prefetch_rate,
    };
    let folder = TraceFolder::new(folder);
    Some(Foreseeing::begin(store, view.manifest(), folder, options))
}

fn options(serving: &Serving, pulse: Option<PathBuf>) -> ServeOptions {
    ServeOptions {
        threads: serving.threads,
        deadline: Duration::from_millis(serving.read_deadline_ms.max(1)),
        pulse,
    }
}

/// A session of its own keeps a terminal's hang-up and the daemon's end away. It fails for a process that leads
/// one already.
fn leave_session() {
    let _ = rustix::process::setsid();
}

/// Tells the starter, then lets go of standard output, so that nobody waits for more. The starter may be gone.
fn say_ready(what: &dyn std::fmt::Display) {
    info!(%what, "Ready");
    let _ = io::stdout()
        .write_all(b"ready\n")
        .and_then(|()| io::stdout().flush());
    let released = File::options()
        .write(true)
        .open("/dev/null")
        .map(nix::unistd::dup2_stdout);
    if !matches!(released, Ok(Ok(()))) {
        warn!("Standard output stays open");
    }
}
