use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    sync::mpsc,
    thread::{self, JoinHandle},
};

use super::*;

/// How long a holder of nothing stays: long enough for a test on a busy machine to give it something.
const IDLE: Duration = Duration::from_secs(1);

type Ended = JoinHandle<snap_store::Result<()>>;

fn start() -> (tempfile::TempDir, Holder, Ended) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("holder.sock");
    let holder = Holder::at(&socket);
    let (ready, is_ready) = mpsc::channel();
    let ended = thread::spawn(move || {
        hold(&socket, IDLE, || {
            ready.send(()).unwrap();
        })
    });
    is_ready.recv().unwrap();
    (folder, holder, ended)
}

#[test]
fn what_is_held_outlives_the_giver_and_comes_back_alive() {
    let (_folder, holder, ended) = start();
    let (mut reader, mut writer) = io::pipe().unwrap();
    holder.put("pipe", writer.as_fd()).unwrap();
    writer.write_all(b"before ").unwrap();
    drop(writer);
    let again = holder.get("pipe").unwrap().unwrap();
    fs::File::from(again).write_all(b"after").unwrap();
    holder.remove("pipe").unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "before after");
    ended.join().unwrap().unwrap();
}

#[test]
fn names_are_listed_and_forgotten() {
    let (_folder, holder, ended) = start();
    let file = tempfile::tempfile().unwrap();
    holder.put("b", file.as_fd()).unwrap();
    holder.put("a", file.as_fd()).unwrap();
    assert_eq!(holder.list().unwrap(), ["a", "b"]);
    assert!(holder.get("c").unwrap().is_none());
    holder.remove("a").unwrap();
    holder.remove("a").unwrap();
    assert_eq!(holder.list().unwrap(), ["b"]);
    holder.remove("b").unwrap();
    ended.join().unwrap().unwrap();
}

#[test]
fn a_holder_that_holds_something_does_not_end() {
    let (_folder, holder, ended) = start();
    let file = tempfile::tempfile().unwrap();
    holder.put("kept", file.as_fd()).unwrap();
    thread::sleep(IDLE + IDLE / 4);
    assert!(!ended.is_finished());
    holder.remove("kept").unwrap();
    ended.join().unwrap().unwrap();
    assert!(!holder.is_alive());
}

#[test]
fn the_socket_is_the_owners_alone_and_goes_with_the_holder() {
    let (folder, _holder, ended) = start();
    let socket = folder.path().join("holder.sock");
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    ended.join().unwrap().unwrap();
    assert!(!socket.exists());
}

#[test]
fn a_second_holder_gives_way() {
    let (folder, holder, ended) = start();
    let socket = folder.path().join("holder.sock");
    let second = hold(&socket, Duration::ZERO, || panic!("must not be ready"));
    assert!(matches!(second, Err(snap_store::Error::Busy { .. })));
    assert!(holder.is_alive());
    ended.join().unwrap().unwrap();
}

#[test]
fn bad_names_are_refused() {
    let (_folder, holder, ended) = start();
    let file = tempfile::tempfile().unwrap();
    for bad in ["", "two\nlines", &"x".repeat(65)] {
        let refused = holder.put(bad, file.as_fd());
        assert!(
            matches!(refused, Err(snap_store::Error::Invalid { .. })),
            "{bad}"
        );
    }
    ended.join().unwrap().unwrap();
}
