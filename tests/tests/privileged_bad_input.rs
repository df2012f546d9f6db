//! Whatever is asked wrongly, or goes wrong around the daemon, ends with its own error and exit code, and changes nothing.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use snap_api::{Created, SnapshotState, SnapshotView};
use snap_tests::{Answer, Host, HostOptions, Image, LoopFolder, wait_for};

const USAGE: i32 = 2;
const NOT_FOUND: i32 = 3;
const CONFLICT: i32 = 4;
const LIMIT: i32 = 5;
const DENIED: i32 = 6;
const UNAVAILABLE: i32 = 7;
const CORRUPT: i32 = 8;

const NO_ID: &str = "0123456789abcdef0123456789abcdef";
const TOO_LONG: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// What is asked, and the exit code it ends with. Words in capitals stand for folders of the host.
const CASES: &[(&[&str], i32)] = &[
    (&["create", "unknown"], NOT_FOUND),
    (&["create", "halted"], CONFLICT),
    (&["create", "taskless"], CONFLICT),
    (&["create"], USAGE),
    (&["create", "one", "--path", "DATA"], USAGE),
    (&["create", "one", "--name", "Bad Name"], USAGE),
    (&["create", "one", "--name", "a:"], USAGE),
    (&["create", "one", "--name", ":v1"], USAGE),
    (&["create", "one", "--name", "a:b:c"], USAGE),
    (&["create", "one", "--name", "a/../b"], USAGE),
    (&["create", "one", "--name", ""], USAGE),
    (&["create", "one", "--name", TOO_LONG], USAGE),
    (&["create", "one", "--ttl", "soon"], USAGE),
    (&["create", "one", "--ttl", "-1d"], USAGE),
    (&["create", "one", "--ttl", "500years"], USAGE),
    (&["create", "one", "--label", "no value"], USAGE),
    (&["create", "one", "--exclude", "[a"], USAGE),
    (
        &["create", "one", "--include-mount", "/no/such/mount"],
        USAGE,
    ),
    (&["create", "--path", "DATA/nothing"], NOT_FOUND),
    (&["create", "--path", "DATA/file"], USAGE),
    (&["create", "--path", "STORE"], USAGE),
    (&["restore", "unknown"], NOT_FOUND),
    (&["restore", "good:v9"], NOT_FOUND),
    (&["restore", NO_ID], NOT_FOUND),
    (&["restore", "Not A Reference"], USAGE),
    (&["restore", "good:v1", "--id", "one"], CONFLICT),
    (&["restore", "good:v1", "--id", "not an id"], USAGE),
    (&["restore", "good:v1", "--id", "../../etc"], USAGE),
    (&["restore", "good:v1", "--count", "0"], USAGE),
    (&["restore", "good:v1", "--count", "-1"], USAGE),
    (&["restore", "good:v1", "--network", "bogus"], USAGE),
    (
        &["restore", "good:v1", "--network", "/no/such/netns"],
        NOT_FOUND,
    ),
    (
        &["restore", "good:v1", "--drop-mount", "/no/such/mount"],
        USAGE,
    ),
    (&["restore", "folder:v1"], CONFLICT),
    (&["mount", "unknown", "EMPTY"], NOT_FOUND),
    (&["mount", "good:v1", "EMPTY/nothing"], NOT_FOUND),
    (&["mount", "good:v1", "DATA/file"], USAGE),
    (&["mount", "good:v1", "MOUNTED"], CONFLICT),
    (&["mount", "expired:v1", "EMPTY"], CONFLICT),
    (&["unmount", "EMPTY"], NOT_FOUND),
    (&["unmount", "/"], NOT_FOUND),
    (&["show", "unknown"], NOT_FOUND),
    (&["show", "bad reference"], USAGE),
    (&["remove", "unknown"], NOT_FOUND),
    (&["remove", "folder:v1", "unknown"], NOT_FOUND),
    (&["remove", "good:v1"], CONFLICT),
    (&["ttl", "unknown", "1d"], NOT_FOUND),
    (&["ttl", "good:v1", "soon"], USAGE),
    (&["ttl", "good:v1", "500years"], USAGE),
    (&["tag", "unknown", "a:v1"], NOT_FOUND),
    (&["tag", "good:v1", "Bad"], USAGE),
    (&["untag", "good:v9"], NOT_FOUND),
    (&["label", "unknown", "a=b"], NOT_FOUND),
    (&["label", "good:v1", "novalue"], USAGE),
    (&["tree", "good:v1", "/no/such/path"], NOT_FOUND),
    (&["tree", "unknown", "/"], NOT_FOUND),
    (&["diff", "good:v1", "unknown"], NOT_FOUND),
    (&["copy", "good:v1", "EMPTY/x"], USAGE),
    (&["copy", "good:v1:/no/such/path", "EMPTY/x"], NOT_FOUND),
    (&["copy", "good:v1:/etc", "DATA"], CONFLICT),
    (&["copy", "good:v1:/etc", "EMPTY/nothing/x"], NOT_FOUND),
    (&["verify", "unknown"], NOT_FOUND),
    (&["jobs", "wait", "unknown"], NOT_FOUND),
    (&["jobs", "cancel", "unknown"], NOT_FOUND),
    (&["start", "one"], NOT_FOUND),
    (&["stop", "unknown"], NOT_FOUND),
    (&["container", "remove", "one"], NOT_FOUND),
    (&["--namespace", "a..b", "list"], USAGE),
    (&["--namespace", "", "list"], USAGE),
    (&["explode"], USAGE),
    (&["list", "--output", "xml"], USAGE),
];

/// Everything that must not change: snapshots, containers, mounts, and what the store holds.
fn state(host: &Host) -> Result<String> {
    let mut lines = vec![host.snap(&["list", "--all-namespaces", "--output", "json"])?];
    lines.push(format!("{:?} {:?}", host.containers()?, host.our_mounts()?));
    for folder in ["packs", "manifests", "index", "drafts", "containers"] {
        let mut names = Vec::new();
        for entry in fs::read_dir(host.root().join(folder)).into_iter().flatten() {
            names.push(entry?.file_name());
        }
        names.sort();
        lines.push(format!("{folder}: {names:?}"));
    }
    Ok(lines.join("\n"))
}

/// A host with a container and a snapshot in every state a case asks for.
fn host_with_everything() -> Result<Host> {
    let host = Host::start()?;
    for name in ["DATA", "EMPTY", "MOUNTED"] {
        host.make_folder(name)?;
    }
    fs::write(host.folder().join("DATA/file"), "content")?;
    for id in ["one", "halted"] {
        host.run_idle(id, Image::Busybox)?;
    }
    host.kill_task("halted")?;
    host.ctr(&["container", "create", Image::Busybox.name(), "taskless"])?
        .ok()?;
    host.snap(&["create", "one", "--name", "good:v1"])?;
    host.snap(&["create", "one", "--name", "expired:v1", "--ttl", "1s"])?;
    host.snap(&[
        "create",
        "--path",
        &folder(&host, "DATA"),
        "--name",
        "folder:v1",
    ])?;
    host.snap(&["mount", "good:v1", &folder(&host, "MOUNTED")])?;
    std::thread::sleep(Duration::from_millis(1500));
    Ok(host)
}

fn folder(host: &Host, name: &str) -> String {
    host.folder().join(name).to_string_lossy().into_owned()
}

fn in_place(host: &Host, argument: &str) -> String {
    if argument == "STORE" {
        return host.root().to_string_lossy().into_owned();
    }
    let name = argument.split('/').next().unwrap_or_default();
    if ["DATA", "EMPTY", "MOUNTED"].contains(&name) {
        return folder(host, argument);
    }
    argument.to_owned()
}

#[test]
fn every_wrong_request_has_its_exit_code_and_changes_nothing() -> Result<()> {
    let host = host_with_everything()?;
    let before = state(&host)?;
    let mut wrong = Vec::new();
    for (arguments, expected) in CASES {
        let answer = host.snapctl(arguments.iter().map(|argument| in_place(&host, argument)))?;
        if answer.code != *expected {
            wrong.push(format!("{} instead of {expected}: {answer:?}", answer.code));
        }
        if answer.stderr.is_empty() {
            wrong.push(format!("nothing was said: {answer:?}"));
        }
        if state(&host)? != before {
            wrong.push(format!(
                "the state changed: {answer:?}\n{before}\n{}",
                state(&host)?
            ));
        }
    }
    assert!(CASES.len() >= 40);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn without_containerd_only_what_needs_it_fails() -> Result<()> {
    let host = Host::start()?;
    host.run_idle("one", Image::Busybox)?;
    host.snap(&["create", "one", "--name", "site"])?;
    host.kill_containerd()?;
    for arguments in [["create", "one"], ["restore", "site"]] {
        let answer = host.snapctl(arguments)?;
        assert_eq!(answer.code, UNAVAILABLE, "{answer:?}");
    }
    host.snap(&["show", "site"])?;
    let data = host.make_folder("data")?;
    host.snap(&["create", "--path", &data.to_string_lossy()])?;
    host.start_containerd()?;
    host.snap(&["restore", "site", "--id", "two"])?;
    assert_eq!(host.exec("two", "echo runs")?, "runs");
    Ok(())
}

#[test]
fn nobody_but_root_and_the_group_may_use_the_socket() -> Result<()> {
    let host = Host::start()?;
    fs::set_permissions(host.folder(), fs::Permissions::from_mode(0o755))?;
    let answer = as_nobody(&host, &["list"])?;
    assert_eq!(answer.code, DENIED, "{answer:?}");
    Ok(())
}

#[test]
fn the_host_s_own_files_are_for_root_alone_whoever_may_use_the_socket() -> Result<()> {
    let host = Host::start()?;
    let data = host.make_folder("data")?;
    let data = data.to_string_lossy();
    for path in [host.folder(), host.socket()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777))?;
    }
    assert_eq!(as_nobody(&host, &["list"])?.code, 0);
    host.snap(&["create", "--path", &data, "--name", "data"])?;
    for arguments in [
        ["create", "--path", &data],
        ["mount", "data", &data],
        ["copy", "data:/", "/tmp/x"],
    ] {
        let answer = as_nobody(&host, &arguments)?;
        assert_eq!(answer.code, DENIED, "{answer:?}");
    }
    Ok(())
}

fn as_nobody(host: &Host, arguments: &[&str]) -> Result<Answer> {
    let program = host.folder().join("snapctl");
    fs::copy(host.snapctl_command()?.get_program(), &program)?;
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .arg("--socket")
        .arg(host.socket())
        .args(arguments)
        .env("CONTAINERD_NAMESPACE", host.namespace())
        .output()
        .context("Run setpriv")?;
    Ok(Answer::new(
        format!("snapctl {}, as nobody", arguments.join(" ")),
        &output,
    ))
}

#[test]
fn no_daemon_is_unavailable() -> Result<()> {
    let mut host = Host::start()?;
    host.take_daemon()?.stop()?;
    assert_eq!(host.snapctl(["list"])?.code, UNAVAILABLE);
    Ok(())
}

#[test]
fn the_limit_of_a_namespace_holds() -> Result<()> {
    let host = Host::start_with(&HostOptions {
        config: "snapshots_per_namespace = 2\n".to_owned(),
        ..HostOptions::default()
    })?;
    let data = host.make_folder("data")?;
    let data = data.to_string_lossy().into_owned();
    let first = host.snap(&["create", "--path", &data, "--quiet"])?;
    host.snap(&["create", "--path", &data])?;
    let answer = host.snapctl(["create", "--path", &data])?;
    assert_eq!(answer.code, LIMIT, "{answer:?}");
    host.snap(&["--namespace", "other", "create", "--path", &data])?;
    host.snap(&["remove", &first])?;
    host.snap(&["create", "--path", &data])?;
    Ok(())
}

#[test]
fn a_full_disk_ends_the_capture_and_spares_what_is_there() -> Result<()> {
    let disk = LoopFolder::new("ext4", 96 << 20)?;
    let mut host = Host::start_with(&HostOptions {
        config: "reserve_bytes = 0\n".to_owned(),
        root: Some(disk.path().join("store")),
        ..HostOptions::default()
    })?;
    let (small, large) = (host.make_folder("small")?, host.make_folder("large")?);
    fs::write(small.join("file"), "content")?;
    noise(&large.join("file"), 200 << 20)?;
    host.snap(&[
        "create",
        "--path",
        &small.to_string_lossy(),
        "--name",
        "small:v1",
    ])?;
    let answer = host.snapctl(["create", "--path", &large.to_string_lossy()])?;
    assert_eq!(answer.code, UNAVAILABLE, "{answer:?}");
    host.take_daemon()?.stop()?;
    host.start_daemon()?;
    host.snap(&["verify", "small:v1"])?;
    host.snap(&[
        "create",
        "--path",
        &small.to_string_lossy(),
        "--name",
        "small:v2",
    ])?;
    Ok(())
}

fn noise(path: &std::path::Path, bytes: u64) -> Result<()> {
    let mut random = fs::File::open("/dev/urandom")?.take(bytes);
    std::io::copy(&mut random, &mut fs::File::create(path)?)?;
    Ok(())
}

#[test]
fn the_reserve_of_the_disk_is_kept() -> Result<()> {
    let host = Host::start_with(&HostOptions {
        config: "reserve_bytes = 1000000000000000\n".to_owned(),
        ..HostOptions::default()
    })?;
    let data = host.make_folder("data")?;
    let answer = host.snapctl(["create", "--path", &data.to_string_lossy()])?;
    assert_eq!(answer.code, UNAVAILABLE, "{answer:?}");
    Ok(())
}

/// A host with one snapshot of a folder with 3 MB of noise in it.
fn host_with_noise() -> Result<(Host, String)> {
    let host = Host::start()?;
    let data = host.make_folder("data")?;
    noise(&data.join("file"), 3_000_000)?;
    let created: Created = host.snap_json(&[
        "create",
        "--path",
        &data.to_string_lossy(),
        "--name",
        "data:v1",
    ])?;
    Ok((host, created.snapshot.id))
}

/// The largest pack: the one that holds the noise.
fn largest_pack(host: &Host) -> Result<PathBuf> {
    let mut packs = Vec::new();
    for folder in fs::read_dir(host.root().join("packs"))? {
        for pack in fs::read_dir(folder?.path())? {
            let pack = pack?;
            packs.push((pack.metadata()?.len(), pack.path()));
        }
    }
    let (_, path) = packs.into_iter().max().context("There is a pack")?;
    Ok(path)
}

fn flip_a_byte(path: &std::path::Path) -> Result<()> {
    let mut bytes = fs::read(path)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    fs::write(path, bytes)?;
    Ok(())
}

/// **R3** Data that does not match its digest is never handed out: reading it is an input/output error.
#[test]
fn a_corrupt_chunk_is_an_error_wherever_it_is_read() -> Result<()> {
    let (host, _) = host_with_noise()?;
    flip_a_byte(&largest_pack(&host)?)?;
    assert_eq!(host.snapctl(["verify", "data:v1"])?.code, CORRUPT);
    let mounted = host.make_folder("mounted")?;
    host.snap(&["mount", "data:v1", &mounted.to_string_lossy()])?;
    let read = fs::read(mounted.join("file")).expect_err("the chunk is corrupt");
    assert_eq!(read.raw_os_error(), Some(5));
    let copied = host.snapctl(["copy", "data:v1:/file", &folder(&host, "copy")])?;
    assert_eq!(copied.code, CORRUPT, "{copied:?}");
    Ok(())
}

#[test]
fn a_truncated_pack_is_found_and_the_daemon_starts_with_it() -> Result<()> {
    let (mut host, _) = host_with_noise()?;
    host.take_daemon()?.stop()?;
    let pack = largest_pack(&host)?;
    fs::set_permissions(&pack, fs::Permissions::from_mode(0o600))?;
    let file = fs::File::options().write(true).open(&pack)?;
    file.set_len(file.metadata()?.len() / 2)?;
    host.start_daemon()?;
    assert_eq!(host.snapctl(["verify", "data:v1"])?.code, CORRUPT);
    let data = folder(&host, "data");
    host.snap(&["create", "--path", &data, "--name", "data:v2"])?;
    Ok(())
}

/// What is done to a manifest, and the exit code of reading it.
type Damage = fn(&mut Vec<u8>);

const DAMAGES: [(&str, Damage, i32); 5] = [
    ("emptied", Vec::clear, CORRUPT),
    ("cut short", |bytes| bytes.truncate(20), CORRUPT),
    (
        "of a later version",
        |bytes| bytes[8..12].fill(255),
        UNAVAILABLE,
    ),
    ("endless lengths", |bytes| bytes[24..40].fill(255), CORRUPT),
    (
        "one bit flipped",
        |bytes| *bytes.last_mut().expect("it is not empty") ^= 1,
        CORRUPT,
    ),
];

#[test]
fn a_hostile_manifest_is_refused_and_hurts_nobody_else() -> Result<()> {
    let (mut host, id) = host_with_noise()?;
    let data = folder(&host, "data");
    host.snap(&["create", "--path", &data, "--name", "other:v1"])?;
    let path = host.root().join("manifests").join(format!("{id}.manifest"));
    let whole = fs::read(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    for (what, damage, expected) in DAMAGES {
        host.take_daemon()?.stop()?;
        let mut bytes = whole.clone();
        damage(&mut bytes);
        fs::write(&path, bytes)?;
        host.start_daemon()?;
        let answer = host.snapctl(["tree", &id])?;
        assert_eq!(answer.code, expected, "{what}: {answer:?}");
        host.snap(&["verify", "other:v1"])?;
    }
    Ok(())
}

#[test]
fn a_damaged_catalogue_is_made_again_from_the_manifests() -> Result<()> {
    let (mut host, id) = host_with_noise()?;
    host.take_daemon()?.stop()?;
    for suffix in ["", "-wal", "-shm"] {
        let path = host.root().join(format!("catalogue.db{suffix}"));
        if path.exists() {
            fs::write(path, "no database at all".repeat(1000))?;
        }
    }
    let refused = format!("{:#}", host.start_daemon().expect_err("it is no database"));
    assert!(refused.contains("move the file"), "{refused}");
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(host.root().join(format!("catalogue.db{suffix}")));
    }
    host.start_daemon()?;
    let all: Vec<SnapshotView> = host.snap_json(&["list"])?;
    assert_eq!(all.len(), 1);
    assert_eq!(
        (all[0].id.as_str(), all[0].state),
        (id.as_str(), SnapshotState::Active)
    );
    assert!(
        all[0].names.contains(&"data:v1".to_owned()),
        "{:?}",
        all[0].names
    );
    Ok(())
}

/// A request as tarpc frames it: our own client would not ask for such a deadline.
fn ask_with_deadline(host: &Host, seconds: u64) -> Result<Vec<u8>> {
    let trace = r#"{"trace_id":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],"span_id":0,"sampling_decision":"Unsampled"}"#;
    let context =
        format!(r#"{{"deadline":{{"secs":{seconds},"nanos":0}},"trace_context":{trace}}}"#);
    let message = r#"{"Hello":{"request":{"major":1,"minor":0,"client":"test"}}}"#;
    let request = format!(r#"{{"Request":{{"context":{context},"id":0,"message":{message}}}}}"#);
    let mut stream = UnixStream::connect(host.socket())?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(&u32::try_from(request.len())?.to_be_bytes())?;
    stream.write_all(request.as_bytes())?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_deadline_of_a_hundred_years_is_answered() -> Result<()> {
    let host = Host::start()?;
    for years in [1, 3, 100] {
        let answer = ask_with_deadline(&host, years * 365 * 86_400)?;
        let answer = String::from_utf8(answer)?;
        assert!(answer.contains("Ok"), "{years}: {answer}");
    }
    let _ = ask_with_deadline(&host, u64::MAX);
    assert_eq!(host.snapctl(["status"])?.code, 0);
    Ok(())
}

#[test]
fn noise_on_the_socket_harms_nobody_else() -> Result<()> {
    let host = Host::start()?;
    for noise in [
        &b""[..],
        b"\0",
        b"GET / HTTP/1.1\r\n\r\n",
        &[255; 100_000],
        b"\0\0\0\x02{}",
    ] {
        let mut stream = UnixStream::connect(host.socket())?;
        // The daemon may hang up while it is being written to.
        let _ = stream.write_all(noise);
    }
    let held: Vec<UnixStream> = (0..10)
        .map(|_| UnixStream::connect(host.socket()))
        .collect::<Result<_, _>>()?;
    assert_eq!(host.snapctl(["status"])?.code, 0);
    drop(held);
    Ok(())
}

/// **J1** A job goes on when the client that started it leaves or dies.
#[test]
fn a_client_that_leaves_cancels_nothing() -> Result<()> {
    let host = Host::start()?;
    let data = host.make_folder("data")?;
    noise(&data.join("file"), 100 << 20)?;
    let mut command = host.snapctl_command()?;
    let mut client = command.args(["create", "--path"]).arg(&data).spawn()?;
    wait_for("the capture to begin", Duration::from_secs(10), || {
        let all: Vec<SnapshotView> = host.snap_json(&["list"])?;
        Ok((!all.is_empty()).then_some(()))
    })?;
    client.kill()?;
    client.wait()?;
    wait_for(
        "the snapshot to become active",
        Duration::from_secs(60),
        || {
            let all: Vec<SnapshotView> = host.snap_json(&["list"])?;
            Ok(all
                .iter()
                .any(|one| one.state == SnapshotState::Active)
                .then_some(()))
        },
    )
}

/// **J2** A cancelled job undoes what it had half done, and ends with `cancelled`.
#[test]
fn a_cancelled_capture_leaves_no_snapshot_that_can_be_used() -> Result<()> {
    let host = Host::start()?;
    let data = host.make_folder("data")?;
    noise(&data.join("file"), 200 << 20)?;
    let job = host.snap(&[
        "create",
        "--path",
        &data.to_string_lossy(),
        "--detach",
        "--quiet",
    ])?;
    host.snap(&["jobs", "cancel", &job])?;
    let ended = host.snapctl(["jobs", "wait", &job])?;
    assert_eq!(ended.code, 10, "{ended:?}");
    let all: Vec<SnapshotView> = host.snap_json(&["list"])?;
    assert!(
        all.iter().all(|one| one.state == SnapshotState::Failed),
        "{all:?}"
    );
    Ok(())
}

#[test]
fn an_unknown_key_keeps_the_daemon_from_starting() -> Result<()> {
    let mut host = Host::start()?;
    host.take_daemon()?.stop()?;
    fs::write(host.config(), "no_such_key = 1\n")?;
    let refused = host.start_daemon().expect_err("the key is unknown");
    assert!(
        format!("{refused:#}").contains("no_such_key"),
        "{refused:#}"
    );
    Ok(())
}

#[test]
fn a_second_daemon_on_the_same_store_is_refused() -> Result<()> {
    let host = Host::start()?;
    let refused = Host::start_with(&HostOptions {
        root: Some(host.root().to_owned()),
        without_containerd: true,
        ..HostOptions::default()
    });
    assert!(refused.is_err());
    assert_eq!(host.snapctl(["status"])?.code, 0);
    Ok(())
}
