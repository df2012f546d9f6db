//! What is said of a request that was refused because its deadline is over: which file, where, and what it waits for.
//!
//! Nothing here may wait long, because what the request waits for may hang for ever. Paths are found by a thread of its
//! own, which may hang in turn; numbers are shown then.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use tracing::warn;

use crate::view::{Number, View};

/// How long somebody waits for a path.
const PATIENCE: Duration = Duration::from_millis(300);
/// Paths remembered.
const MAX_KNOWN: usize = 1024;

/// Finds the paths of nodes, as long as the store answers.
#[derive(Debug)]
pub(super) struct Namer {
    desk: Mutex<Desk>,
}

#[derive(Debug)]
struct Desk {
    asked: Sender<Number>,
    found: Receiver<(Number, String)>,
    /// What the thread is at.
    pending: Option<Number>,
    known: HashMap<Number, String>,
}

impl Namer {
    pub(super) fn new(view: Arc<View>) -> Self {
        let (asked, numbers) = bounded(1);
        let (paths, found) = bounded(1);
        let finding = thread::Builder::new()
            .name("paths".to_owned())
            .spawn(move || {
                for number in numbers {
                    if paths.send((number, view.path_of(number))).is_err() {
                        return;
                    }
                }
            });
        if let Err(error) = finding {
            warn!(%error, "Nodes are shown by number");
        }
        let desk = Desk {
            asked,
            found,
            pending: None,
            known: HashMap::new(),
        };
        Self {
            desk: Mutex::new(desk),
        }
    }

    /// The path of a node; `None` when it cannot be had soon.
    pub(super) fn path_of(&self, number: Number) -> Option<String> {
        let mut desk = self
            .desk
            .lock()
            .expect("no thread panics while it asks for a path");
        // What hung before is not waited for again.
        if desk.pending.is_some() {
            let late = desk.found.try_recv().ok();
            desk.keep(late);
        }
        if !desk.known.contains_key(&number) && desk.pending.is_none() {
            desk.asked.try_send(number).ok()?;
            desk.pending = Some(number);
            let found = desk.found.recv_timeout(PATIENCE).ok();
            desk.keep(found);
        }
        desk.known.get(&number).cloned()
    }
}

impl Desk {
    fn keep(&mut self, found: Option<(Number, String)>) {
        let Some((number, path)) = found else { return };
        self.pending = None;
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(number, path);
    }
}

/// What a thread of this process waits for, as far as the kernel tells.
pub(super) fn waits_for(thread: Option<i32>, root: &Path) -> String {
    let Some(thread) = thread else {
        return "a thread: all of them wait".to_owned();
    };
    let call = fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).unwrap_or_default();
    match file_of(&call) {
        Some(path) => path,
        None => format!("the store in {}", root.display()),
    }
}

/// The file that a system call is about, as `/proc/PID/task/TID/syscall` shows calls: its number, then its arguments.
fn file_of(call: &str) -> Option<String> {
    let first = call.split_ascii_whitespace().nth(1)?;
    let number = u32::from_str_radix(first.strip_prefix("0x")?, 16).ok()?;
    let path = fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
    path.is_absolute().then(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_read_is_shown_by_its_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let number = file.as_file().as_raw_fd();
        let call = format!("17 0x{number:x} 0x7f00 0x1000 0x0 0x0 0x0 0x7ffd 0x7f11\n");
        assert_eq!(file_of(&call), Some(file.path().display().to_string()));
    }

    #[test]
    fn a_call_without_a_file_is_none() {
        for call in [
            "running\n",
            "",
            "202 0x7f3a5c000b60 0x80 0x2\n",
            "-1 0x7ffd 0x7f11\n",
        ] {
            assert_eq!(file_of(call), None, "{call}");
        }
    }
}
