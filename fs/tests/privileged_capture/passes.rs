//! The passes together: what is read when, and that the result is one instant of a source that does not wait.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

use snap_fs::capture::{CapturedTree, SourceKind, StatCache, read};
use snap_store::{Node, Silent};

use crate::bench::{Bench, Disk, Folder};

/// Appends, truncates, renames and stores through mappings as fast as it can, except between `stop` and `go`.
const WRITER: &str = r#"
import mmap, os, random, select, sys
os.chdir(sys.argv[1])
random.seed(int(sys.argv[2]))
SIZE = 512 * 1024
maps = []
for i in range(6):
    fd = os.open(f"map{i}", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, SIZE)
    maps.append(mmap.mmap(fd, SIZE))
def name():
    return f"f{random.randrange(12)}"
def step():
    kind = random.randrange(8)
    if kind < 4:
        m = maps[random.randrange(6)]
        at = random.randrange(8) * 4096 + random.randrange(16)
        m[at] = random.randrange(256)
    elif kind == 4:
        with open(name(), "ab") as f:
            f.write(os.urandom(random.randrange(100_000)))
    elif kind == 5:
        with open(name(), "r+b") as f:
            f.seek(random.randrange(50_000)); f.write(os.urandom(10))
    elif kind == 6:
        os.rename(name(), name())
    else:
        os.truncate(name(), random.randrange(100_000))
print("ready", flush=True)
while True:
    if select.select([0], [], [], 0)[0]:
        if not os.read(0, 64):
            break
        print("stopped", flush=True)
        if not os.read(0, 64):
            break
    try:
        step()
    except OSError:
        pass
"#;

/// The writer; it ends with the test.
struct Writer {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Writer {
    fn start(folder: &Path, seed: u32) -> Self {
        let mut child = Command::new("python3")
            .args(["-c", WRITER])
            .arg(folder)
            .arg(seed.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut writer = Self { child, said };
        writer.wait_for("ready");
        writer
    }

    fn stop(&mut self) {
        self.child
            .stdin
            .as_mut()
            .unwrap()
            .write_all(b"stop")
            .unwrap();
        self.wait_for("stopped");
    }

    fn go(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"go").unwrap();
    }

    fn wait_for(&mut self, word: &str) {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), word);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn files_of(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let read = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap())
    };
    files.map(read).collect()
}

fn captured_files(bench: &Bench, tree: &CapturedTree) -> BTreeMap<String, Vec<u8>> {
    let entries = bench.list(tree).into_iter();
    entries
        .map(|(path, entry)| (path, bench.bytes(&entry)))
        .collect()
}

/// Captures a folder `rounds` times while it is written to; every result is what was there while the writer stood still.
fn hammer(kind: &str, rounds: u32) {
    let disk = Disk::new(kind);
    let bench = Bench::new(&disk);
    let top = bench.path("top");
    fs::create_dir(&top).unwrap();
    for number in 0..12 {
        fs::write(top.join(format!("f{number}")), vec![number; 60_000]).unwrap();
    }
    let mut writer = Writer::start(&top, rounds);
    let mut cache = StatCache::default();
    let folder = Folder::new(&top, SourceKind::Plain, &[]);
    for round in 0..rounds {
        thread::sleep(Duration::from_millis(u64::from(round % 4) * 60));
        bench.warm(&folder, &mut cache);
        thread::sleep(Duration::from_millis(u64::from(round % 3) * 60));
        writer.stop();
        let scan = folder.scan(&mut cache);
        let expected = files_of(&top);
        writer.go();
        let tree = bench.build(scan, None, &mut cache);
        let captured = captured_files(&bench, &tree);
        for (name, bytes) in &expected {
            assert!(captured[name] == *bytes, "{name} is torn in round {round}");
        }
        assert_eq!(captured.len(), expected.len());
    }
}

#[test]
fn a_capture_on_ext4_is_one_instant_of_what_is_written() {
    hammer("ext4", 20);
}

#[test]
fn a_capture_on_xfs_is_one_instant_of_what_is_written() {
    hammer("xfs", 20);
}

/// A folder with one of each, older than the margin of trust, and where it is.
fn old_folder(bench: &Bench) -> PathBuf {
    let top = bench.path("top");
    fs::create_dir_all(top.join("folder")).unwrap();
    fs::write(top.join("file"), vec![1; 300_000]).unwrap();
    fs::hard_link(top.join("file"), top.join("folder/link")).unwrap();
    symlink("file", top.join("symlink")).unwrap();
    thread::sleep(Duration::from_millis(400));
    top
}

#[test]
fn what_did_not_change_is_not_read_again() {
    let disk = Disk::new("ext4");
    let bench = Bench::new(&disk);
    let top = old_folder(&bench);
    let folder = Folder::new(&top, SourceKind::Plain, &[]);
    let (mut cache, path) = (StatCache::default(), bench.path("cache"));
    bench.warm(&folder, &mut cache);
    let read = bench.draft.stats().read_bytes;
    assert!(read >= 300_000);
    let first = bench.build(folder.scan(&mut cache), None, &mut cache);
    cache.encode(&path).save().unwrap();
    let mut cache = StatCache::load(&path);
    bench.warm(&folder, &mut cache);
    let second = bench.build(folder.scan(&mut cache), None, &mut cache);
    assert_eq!(bench.draft.stats().read_bytes, read);
    assert_eq!((first.root, first.links), (second.root, second.links));
}

#[test]
fn what_changed_between_the_passes_is_of_the_second() {
    let disk = Disk::new("ext4");
    let bench = Bench::new(&disk);
    let top = old_folder(&bench);
    let folder = Folder::new(&top, SourceKind::Plain, &[]);
    let mut cache = StatCache::default();
    bench.warm(&folder, &mut cache);
    fs::write(top.join("folder/link"), "new").unwrap();
    fs::remove_file(top.join("symlink")).unwrap();
    symlink("elsewhere", top.join("symlink")).unwrap();
    let scan = folder.scan(&mut cache);
    fs::write(top.join("file"), "too late").unwrap();
    let tree = bench.build(scan, None, &mut cache);
    assert_eq!(bench.bytes(&bench.entry(&tree, "file")), b"new");
    let target = Node::Symlink(b"elsewhere"[..].into());
    assert_eq!(bench.entry(&tree, "symlink").node, target);
}

#[test]
fn times_set_back_do_not_hide_a_change() {
    let disk = Disk::new("ext4");
    let bench = Bench::new(&disk);
    let top = old_folder(&bench);
    let folder = Folder::new(&top, SourceKind::Plain, &[]);
    let mut cache = StatCache::default();
    bench.warm(&folder, &mut cache);
    let modified = fs::metadata(top.join("file")).unwrap().modified().unwrap();
    fs::write(top.join("file"), vec![2; 300_000]).unwrap();
    let file = File::options().write(true).open(top.join("file")).unwrap();
    file.set_modified(modified).unwrap();
    let tree = bench.build(folder.scan(&mut cache), None, &mut cache);
    assert_eq!(bench.bytes(&bench.entry(&tree, "file")), vec![2; 300_000]);
}

#[test]
fn contents_the_store_has_lost_are_read_again() {
    let disk = Disk::new("ext4");
    let (bench, other) = (Bench::new(&disk), Bench::new(&disk));
    let top = old_folder(&bench);
    let folder = Folder::new(&top, SourceKind::Plain, &[]);
    let mut cache = StatCache::default();
    bench.warm(&folder, &mut cache);
    other.warm(&folder, &mut cache);
    assert_eq!(
        other.draft.stats().read_bytes,
        bench.draft.stats().read_bytes
    );
}

#[test]
fn one_pass_reads_nothing_again_that_did_not_change() {
    let disk = Disk::new("ext4");
    let bench = Bench::new(&disk);
    let top = old_folder(&bench);
    let folder = Folder::new(&top, SourceKind::Plain, &[]);
    let (mut cache, path) = (StatCache::default(), bench.path("cache"));
    let first = bench.build(bench.read(&folder, &mut cache), None, &mut cache);
    let bytes = bench.draft.stats().read_bytes;
    cache.encode(&path).save().unwrap();
    let mut cache = StatCache::load(&path);
    let second = bench.build(bench.read(&folder, &mut cache), None, &mut cache);
    assert_eq!(bench.draft.stats().read_bytes, bytes);
    assert_eq!((first.root, first.links), (second.root, second.links));
    fs::write(top.join("folder/link"), "new").unwrap();
    let third = bench.build(bench.read(&folder, &mut cache), None, &mut cache);
    assert_eq!(bench.bytes(&bench.entry(&third, "file")), b"new");
    let (one, other) = (
        bench.entry(&third, "file"),
        bench.entry(&third, "folder/link"),
    );
    assert_eq!(one.meta, other.meta);
}

#[test]
fn one_pass_takes_each_file_of_a_busy_folder_with_the_size_it_had() {
    let disk = Disk::new("ext4");
    let bench = Bench::new(&disk);
    let top = bench.path("top");
    fs::create_dir(&top).unwrap();
    for number in 0..12 {
        fs::write(top.join(format!("f{number}")), vec![number; 60_000]).unwrap();
    }
    let mut writer = Writer::start(&top, 7);
    let folder = Folder::new(&top, SourceKind::Plain, &[]);
    let mut cache = StatCache::default();
    for _ in 0..10 {
        let tree = bench.build(bench.read(&folder, &mut cache), None, &mut cache);
        for (_, entry) in bench.list(&tree) {
            let Node::File { size, .. } = entry.node else {
                continue;
            };
            assert_eq!(bench.bytes(&entry).len() as u64, size);
        }
    }
    // What was remembered in the bustle is believed only where it is true.
    writer.stop();
    let tree = bench.build(bench.read(&folder, &mut cache), None, &mut cache);
    assert_eq!(captured_files(&bench, &tree), files_of(&top));
}

#[test]
fn one_pass_fails_with_the_name_of_a_file_that_cannot_be_read() {
    let disk = Disk::new("ext4");
    let bench = Bench::new(&disk);
    // The loopback interface has no speed, and reading it says so.
    let path = Path::new("/sys/class/net/lo");
    let folder = Folder::new(path, SourceKind::Plain, &["[!s]*"]);
    let mut cache = StatCache::default();
    let read = read(&bench.draft, &folder.source(), &mut cache, &Silent);
    let message = read.unwrap_err().to_string();
    assert!(message.contains("speed"), "{message}");
}
