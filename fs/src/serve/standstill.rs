//! Threads that wait for each other for ever: a server that finds itself so gives way to another.
//!
//! A thread that waits for the disk will come back; one that waits for another thread will when that one does. When requests
//! are old and no thread of the process is at anything but waiting for another, or for a request to come, nobody will.

use std::{fs, io, path::Path};

use nix::libc;
use tracing::error;

/// What a thread is at, as `/proc/PID/task/TID/syscall` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It waits for another thread.
    Waits,
    /// It waits for somebody from outside: the kernel with a request, a caller; or for its time to come. Nobody sleeps who answers a request.
    Idle,
    /// Anything else, or not known: it may help the others on.
    Busy,
}

/// True when no thread but the caller can help another on.
pub(super) fn stands_still() -> bool {
    let states = states().unwrap_or_default();
    states.contains(&State::Waits) && !states.contains(&State::Busy)
}

/// Ends this process at once. Whoever looks after it has another go on with the requests it had taken.
pub(super) fn give_way() {
    error!(
        "The threads of this server wait for each other; it ends, so that another takes its place"
    );
    let own = nix::unistd::Pid::this();
    let _ = nix::sys::signal::kill(own, nix::sys::signal::Signal::SIGKILL);
}

/// The states of all threads but this one.
fn states() -> io::Result<Vec<State>> {
    let own = rustix::thread::gettid().as_raw_pid().to_string();
    let mut found = Vec::new();
    for thread in fs::read_dir("/proc/self/task")? {
        let thread = thread?;
        if thread.file_name().to_str() != Some(&own) {
            let call = fs::read_to_string(thread.path().join("syscall")).unwrap_or_default();
            found.push(state(&call, is_device));
        }
    }
    Ok(found)
}

/// The number of the call, then its arguments; `running` for a thread that runs, -1 for one in a page fault.
fn state(call: &str, is_device: impl Fn(u64) -> bool) -> State {
    let mut words = call.split_ascii_whitespace();
    let number = words.next().and_then(|word| word.parse().ok());
    let hexadecimal = |word: &str| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
    let first = words.next().and_then(hexadecimal);
    match (number, first) {
        (Some(libc::SYS_futex), _) => State::Waits,
        (Some(libc::SYS_accept4 | libc::SYS_nanosleep | libc::SYS_clock_nanosleep), _) => {
            State::Idle
        }
        (Some(libc::SYS_read), Some(descriptor)) if is_device(descriptor) => State::Idle,
        _ => State::Busy,
    }
}

fn is_device(descriptor: u64) -> bool {
    let link = fs::read_link(format!("/proc/self/fd/{descriptor}"));
    link.is_ok_and(|link| link == Path::new("/dev/fuse"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(number: libc::c_long, first: u64) -> State {
        let call = format!("{number} 0x{first:x} 0x80 0x0 0x0 0x0 0x0 0x7ffd 0x7f11\n");
        state(&call, |descriptor| descriptor == 3)
    }

    #[test]
    fn who_reads_from_a_disk_or_runs_may_help_the_others_on() {
        assert_eq!(of(libc::SYS_pread64, 3), State::Busy);
        assert_eq!(of(libc::SYS_read, 4), State::Busy);
        for call in ["running\n", "-1 0x7ffd 0x7f11\n", ""] {
            assert_eq!(state(call, |_| true), State::Busy, "{call}");
        }
    }

    #[test]
    fn who_waits_for_a_thread_or_a_request_does_not() {
        assert_eq!(of(libc::SYS_futex, 0x7f00), State::Waits);
        assert_eq!(of(libc::SYS_read, 3), State::Idle);
        assert_eq!(of(libc::SYS_accept4, 5), State::Idle);
    }

    /// The threads that do something now and then sleep in between; for as long as they counted as busy, no server ever found itself
    /// standing still.
    #[test]
    fn who_sleeps_is_idle() {
        for call in [libc::SYS_nanosleep, libc::SYS_clock_nanosleep] {
            assert_eq!(of(call, 0), State::Idle);
        }
        std::thread::spawn(|| std::thread::sleep(std::time::Duration::from_secs(600)));
        let (stop, told) = std::sync::mpsc::channel::<()>();
        let waiting = std::thread::spawn(move || told.recv());
        while !stands_still() {
            std::thread::yield_now();
        }
        drop(stop);
        assert!(waiting.join().unwrap().is_err());
    }

    #[test]
    fn a_process_with_a_thread_that_reads_does_not_stand_still() {
        let (mut reader, writer) = io::pipe().unwrap();
        let reading = std::thread::spawn(move || io::Read::read(&mut reader, &mut [0]));
        while !states().unwrap().contains(&State::Busy) {
            std::thread::yield_now();
        }
        assert!(!stands_still());
        drop(writer);
        assert_eq!(reading.join().unwrap().unwrap(), 0);
    }
}
