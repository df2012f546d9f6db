//! Memory that is encrypted at rest: what is in the store is of no use without the key, and of full use with it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use snap_api::{CheckResult, DoctorReport, MemoryContents, Restored, SnapshotDetail, SnapshotView};
use snap_store::{Access, ContentReader, Digest, Node, Store, TreeReader, TreeRef};
use snap_tests::{Answer, Host, HostOptions, Image, text};

use crate::{UNAVAILABLE, begun, create, memory_of, nothing_is_left, shown};

/// A shell that has some megabytes of noise and a word in its memory that stands nowhere else, not in its own text either, and counts.
const HOLDING: &str = "echo once more >> /begun; x=$(head -c 4000000 /dev/urandom | base64); \
    word=unspo; word=${word}ken; word=$word-$word-$word; i=0; \
    while :; do i=$((i + 1)); echo $i > /count.new; mv /count.new /count; sleep 0.02; done";
const WORD: &[u8] = b"unspoken-unspoken-unspoken";

/// The keys of a host, in a folder that outlives its daemon.
struct Keys {
    _folder: tempfile::TempDir,
    file: PathBuf,
}

impl Keys {
    /// A host whose daemon looks for keys in a folder of its own, in which there is none yet.
    fn host(more: &str) -> Result<(Host, Self)> {
        let folder = tempfile::tempdir_in("/var/tmp")?;
        let config = format!("memory_keys = '{}'\n{more}", text(folder.path())?);
        let host = Host::start_with(&HostOptions {
            config,
            ..HostOptions::default()
        })?;
        let file = folder.path().join(format!("{}.key", host.namespace()));
        let keys = Self {
            _folder: folder,
            file,
        };
        Ok((host, keys))
    }

    /// Adds a key, the newest from now on.
    fn add(&self, number: u8) -> Result<()> {
        let mut lines = fs::read_to_string(&self.file).unwrap_or_default();
        lines.push_str(&format!("{number:02x}{}\n", "c3".repeat(31)));
        self.write(&lines, 0o600)
    }

    fn write(&self, lines: &str, mode: u32) -> Result<()> {
        fs::write(&self.file, lines)?;
        Ok(fs::set_permissions(
            &self.file,
            fs::Permissions::from_mode(mode),
        )?)
    }

    fn take_away(&self) -> Result<String> {
        let lines = fs::read_to_string(&self.file)?;
        fs::remove_file(&self.file)?;
        Ok(lines)
    }
}

fn hold(host: &Host) -> Result<()> {
    host.run("one", host.image(Image::Busybox)?, HOLDING)?;
    shown(&host.rootfs("one"), 3).map(drop)
}

fn key_of(host: &Host, name: &str) -> Result<Option<String>> {
    let detail: SnapshotDetail = host.snap_json(&["show", name])?;
    Ok(detail.memory_key)
}

/// What lists and `show` say of a snapshot with memory, all of them the same.
fn is_said_to_be_encrypted(host: &Host, name: &str) -> Result<bool> {
    let detail: SnapshotDetail = host.snap_json(&["show", name])?;
    let of = |snapshot: &SnapshotView| snapshot.memory.as_ref().is_some_and(|it| it.encrypted);
    let shown = of(&detail.snapshot);
    let filter = format!("name={name}");
    let listed: Vec<SnapshotView> = host.snap_json(&["list", "--filter", &filter])?;
    ensure!(
        !listed.is_empty() && listed.iter().all(|one| of(one) == shown),
        "{listed:?}"
    );
    let table = host.snap(&["list", "--filter", &filter])?;
    ensure!(table.contains("with encrypted memory") == shown, "{table}");
    Ok(shown)
}

/// Restores eight clones that go on, and removes them.
fn eight_go_on(host: &Host, name: &str) -> Result<()> {
    let flags = ["--id", "clone", "--count", "8"];
    let restored: Restored = host.snap_json(&[&["restore", name], &flags[..]].concat())?;
    ensure!(restored.with_memory, "{restored:?}");
    for clone in &restored.containers {
        let rootfs = host.restored_rootfs(&clone.id);
        shown(&rootfs, shown(&rootfs, 1)? + 3)?;
        assert_eq!(begun(&rootfs)?, 1, "{}", clone.id);
    }
    for clone in &restored.containers {
        host.snap(&["container", "remove", &clone.id])?;
    }
    Ok(())
}

/// True when the word is in a file below the store, or in a chunk that a snapshot needs, once it is decoded.
fn store_holds_the_word(host: &Host) -> Result<bool> {
    let store = Store::open(host.root(), Access::ReadOnly)?;
    let mut is_found = a_file_holds_the_word(host.root())?;
    for id in store.manifests()? {
        let manifest = store.manifest(&id)?;
        for root in manifest.roots() {
            is_found |= a_chunk_holds_the_word(&store, root, root, 0)?;
        }
    }
    Ok(is_found)
}

fn has_word(bytes: &[u8]) -> bool {
    bytes.windows(WORD.len()).any(|window| window == WORD)
}

fn a_file_holds_the_word(folder: &Path) -> Result<bool> {
    let mut is_found = false;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        is_found |= match entry.file_type()? {
            kind if kind.is_dir() => a_file_holds_the_word(&entry.path())?,
            kind if kind.is_file() => has_word(&fs::read(entry.path())?),
            _ => false,
        };
    }
    Ok(is_found)
}

fn a_chunk_holds_the_word(
    store: &Store,
    root: TreeRef,
    tree: TreeRef,
    position: u64,
) -> Result<bool> {
    let reader = TreeReader::new(store.clone(), root);
    let mut is_found = false;
    for located in reader.entries(&tree, position, 0, 1 << 20)? {
        match located.entry.node {
            Node::Directory(below) => {
                is_found |= a_chunk_holds_the_word(store, root, below, located.position)?;
            }
            Node::File { size, content, .. } => {
                let mut search = |digest: &Digest| {
                    is_found |= has_word(&store.get(digest)?);
                    Ok(())
                };
                ContentReader::new(store.clone(), content, size).walk(&mut search)?;
            }
            _ => {}
        }
    }
    Ok(is_found)
}

fn refused(answer: &Answer, words: &[&str]) {
    assert_eq!(answer.code, UNAVAILABLE, "{answer:?}");
    for word in words {
        assert!(answer.stderr.contains(word), "{word}: {answer:?}");
    }
}

/// **Z1** Where its namespace has a key, memory is encrypted before it reaches the store: nothing that is stored of it holds a byte of it
/// in clear, and the snapshot restores as any other.
/// **Z2** Memory that is encrypted is deduplicated under its key: a second snapshot of processes that did nothing meanwhile adds next to
/// nothing.
#[test]
fn encrypted_memory_is_nowhere_in_clear_and_goes_on_in_eight_clones() -> Result<()> {
    let (host, keys) = Keys::host("")?;
    keys.add(1)?;
    hold(&host)?;
    let first = create(&host, "one", &["--memory=required", "--name", "sealed"])?;
    let second = create(&host, "one", &["--memory=required", "--name", "again"])?;
    assert!(memory_of(&first)?.captured && first.stored_bytes > 3_000_000);
    assert!(
        second.stored_bytes < first.stored_bytes / 10,
        "{} after {}",
        second.stored_bytes,
        first.stored_bytes
    );
    assert!(key_of(&host, "sealed")?.is_some());
    assert!(is_said_to_be_encrypted(&host, "sealed")?);
    assert!(
        host.snap(&["show", "sealed"])?
            .contains("encrypted at rest")
    );
    assert!(!store_holds_the_word(&host)?, "The word is in the store");
    let contents: MemoryContents = host.snap_json(&["show", "sealed", "--memory"])?;
    assert_eq!(contents.processes[0].name, "sh");
    for name in ["sealed", "again"] {
        eight_go_on(&host, name)?;
    }
    nothing_is_left(&host)?;

    // Whoever has no key finds the word in the same way.
    keys.take_away()?;
    create(&host, "one", &["--memory=required", "--name", "clear"])?;
    assert_eq!(key_of(&host, "clear")?, None);
    assert!(!is_said_to_be_encrypted(&host, "clear")?);
    assert!(store_holds_the_word(&host)?, "The search finds nothing");
    Ok(())
}

/// **Z3** Without its key no memory is restored or looked into: the error names the key and the file it belongs into, nothing is changed,
/// and the files are restored as ever.
/// **Z4** Verification, collection and removal need no key.
#[test]
fn without_its_key_memory_is_closed_and_everything_else_goes_on() -> Result<()> {
    let (host, keys) = Keys::host("")?;
    keys.add(1)?;
    hold(&host)?;
    create(&host, "one", &["--memory=required", "--name", "sealed"])?;
    let key = key_of(&host, "sealed")?.context("It has no key")?;
    let lines = keys.take_away()?;
    let file = text(&keys.file)?;
    for is_another_there in [false, true] {
        if is_another_there {
            keys.add(2)?;
        }
        let answer = host.snapctl(["restore", "sealed", "--id", "two"])?;
        refused(&answer, &[&key, file, "--no-memory"]);
        let answer = host.snapctl(["show", "sealed", "--memory"])?;
        refused(&answer, &[&key, file]);
    }
    assert_eq!(host.containers()?, ["one"]);
    nothing_is_left(&host)?;
    let fallen: Restored = host.snap_json(&["restore", "sealed", "--id", "two", "--fallback"])?;
    assert!(!fallen.with_memory && fallen.warnings.join("\n").contains(&key));
    host.snap(&["restore", "sealed", "--id", "three", "--no-memory"])?;
    host.snap(&["verify"])?;
    host.snap(&["verify", "sealed"])?;
    host.snap(&["collect", "--grace", "0"])?;

    keys.write(&lines, 0o600)?;
    eight_go_on(&host, "sealed")?;
    for id in ["two", "three"] {
        host.snap(&["container", "remove", id])?;
    }
    keys.take_away()?;
    host.snap(&["remove", "sealed"])?;
    host.snap(&["collect", "--grace", "0"])?;
    Ok(())
}

/// **Z5** The last key of a file writes from the next capture on, and what the others have written is restored as before.
#[test]
fn a_key_that_is_added_writes_and_those_before_it_read() -> Result<()> {
    let (host, keys) = Keys::host("")?;
    hold(&host)?;
    for number in [1, 2] {
        keys.add(number)?;
        let name = format!("key-{number}");
        create(&host, "one", &["--memory=required", "--name", &name])?;
    }
    assert_ne!(key_of(&host, "key-1")?, key_of(&host, "key-2")?);
    for name in ["key-1", "key-2"] {
        eight_go_on(&host, name)?;
    }
    Ok(())
}

/// **Z6** Where the key file can be read by others or holds something else, and where `encrypt_memory` is `always` and there is none, no
/// memory of the namespace is captured: it is never stored in clear instead.
#[test]
fn a_key_that_cannot_be_used_keeps_memory_from_being_captured() -> Result<()> {
    let (host, keys) = Keys::host("encrypt_memory = 'always'\n")?;
    hold(&host)?;
    let required = ["create", "one", "--memory=required"];
    refused(&host.snapctl(required)?, &["has no key in", "base64"]);
    let good = format!("07{}\n", "c3".repeat(31));
    for (lines, mode, word) in [
        (&*good, 0o644, "chmod 600"),
        ("something else\n", 0o600, "line 1 is no key"),
    ] {
        keys.write(lines, mode)?;
        refused(&host.snapctl(required)?, &[word, text(&keys.file)?]);
        let created = create(&host, "one", &["--memory"])?;
        let memory = memory_of(&created)?;
        let reason = memory.reason.clone().unwrap_or_default();
        assert!(!memory.captured && reason.contains(word), "{reason}");
        let report = host.snapctl(["--output", "json", "doctor"])?;
        let report: DoctorReport = serde_json::from_str(&report.stdout)?;
        let mut checks = report.checks.iter();
        let check = checks.find(|check| check.name == "memory keys");
        let check = check.context("No check of keys")?;
        assert_eq!(check.result, CheckResult::Problem, "{check:?}");
        assert!(!check.found.contains("something"), "{check:?}");
    }
    keys.write(&good, 0o600)?;
    assert!(memory_of(&create(&host, "one", &["--memory"])?)?.captured);
    Ok(())
}
