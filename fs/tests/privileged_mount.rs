//! A snapshot of a folder, mounted for real through `snapshotd-mount mount`, against the folder itself.
//! Needs root and /dev/fuse; every mount and process is undone.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test may fail as the test itself"
)]

#[path = "shared/capture.rs"]
mod capture;

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use capture::capture;
use snap_fs::mount::{is_mounted, mount_bind_read_only, mount_overlay, unmount};
use snap_store::SnapshotId;
use snap_tests::{Tree, fill_nasty, fixture_folder, wait_for};
use tempfile::TempDir;

const FEW_SECONDS: Duration = Duration::from_secs(10);

/// A store with one snapshot of `source`, mounted at `point`.
struct Mounted {
    top: TempDir,
    snapshot: SnapshotId,
    server: Option<Child>,
}

impl Mounted {
    /// Captures what `fill` put into a folder and mounts it.
    fn of(fill: impl FnOnce(&Path)) -> Self {
        let mounted = Self::unmounted(fill);
        mounted.serve()
    }

    fn unmounted(fill: impl FnOnce(&Path)) -> Self {
        let parent = fixture_folder("fs-mount").unwrap();
        let top = TempDir::new_in(parent).unwrap();
        for name in ["source", "point", "root"] {
            fs::create_dir(top.path().join(name)).unwrap();
        }
        let mut mounted = Self {
            snapshot: SnapshotId::random(),
            top,
            server: None,
        };
        fill(&mounted.source());
        mounted.snapshot = capture(&mounted.root(), &mounted.source());
        mounted
    }

    fn serve(mut self) -> Self {
        let mut server = Command::new(env!("CARGO_BIN_EXE_snapshotd-mount"))
            .arg("mount")
            .arg("--root")
            .arg(self.root())
            .args(["--snapshot", &self.snapshot.to_string()])
            .arg(self.point())
            .stdout(Stdio::piped())
            .stderr(File::create(self.log()).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(server.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        self.server = Some(server);
        assert_eq!(line, "ready\n", "{}", self.said());
        self
    }

    fn root(&self) -> PathBuf {
        self.top.path().join("root")
    }
    fn source(&self) -> PathBuf {
        self.top.path().join("source")
    }
    fn point(&self) -> PathBuf {
        self.top.path().join("point")
    }
    fn log(&self) -> PathBuf {
        self.top.path().join("log")
    }
    fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Waits until the server has ended; true when it was content.
    fn ended(&mut self) -> bool {
        let server = self.server.as_mut().unwrap();
        let status = wait_for("the server's end", FEW_SECONDS, || Ok(server.try_wait()?));
        status.unwrap().success()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(&self.point());
        if let Some(mut server) = self.server.take() {
            let ended = wait_for("the server's end", FEW_SECONDS, || Ok(server.try_wait()?));
            if ended.is_err() {
                let _ = server.kill();
                let _ = server.wait();
            }
        }
    }
}

/// Bytes that look random and do not compress.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn output(program: &str, arguments: &[&str], folder: &Path) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_mounted_snapshot_equals_the_folder_in_everything() {
    let mounted = Mounted::of(|folder| fill_nasty(folder).unwrap());
    let (source, mount) = (
        Tree::read(&mounted.source()).unwrap(),
        Tree::read(&mounted.point()).unwrap(),
    );
    assert_eq!(source.differences(&mount), Vec::<String>::new());
    assert_eq!(mounted.said().matches("ERROR").count(), 0);
}

#[test]
fn a_large_folder_lists_every_name_once() {
    const FILES: usize = 50_000;
    let mounted = Mounted::of(|folder| {
        for number in 0..FILES {
            fs::write(folder.join(format!("{number}")), "").unwrap();
        }
    });
    let names = || {
        let entries = fs::read_dir(mounted.point()).unwrap();
        let mut names: Vec<usize> = entries
            .map(|entry| {
                entry
                    .unwrap()
                    .file_name()
                    .to_str()
                    .unwrap()
                    .parse()
                    .unwrap()
            })
            .collect();
        names.sort_unstable();
        names
    };
    assert!(names().into_iter().eq(0..FILES));
    assert!(names().into_iter().eq(0..FILES));
    let found = output("find", &[".", "-type", "f", "-size", "0"], &mounted.point());
    assert_eq!(found.lines().count(), FILES);
}

#[test]
fn reads_anywhere_agree_with_the_folder() {
    let mounted = Mounted::of(|folder| {
        fs::write(folder.join("large"), noise(1, 20 << 20)).unwrap();
        fs::write(folder.join("small"), noise(2, 5000)).unwrap();
        let sparse = File::create(folder.join("sparse")).unwrap();
        sparse.write_all_at(&noise(3, 300_000), 5 << 20).unwrap();
        sparse.set_len(40 << 20).unwrap();
    });
    for name in ["large", "small", "sparse"] {
        let model = fs::read(mounted.source().join(name)).unwrap();
        let file = File::open(mounted.point().join(name)).unwrap();
        let places = noise(4, 16 * 300);
        for place in places.chunks_exact(16) {
            let offset = u64::from_le_bytes(place[..8].try_into().unwrap()) as usize;
            let offset = offset % (model.len() + 100);
            let length = u16::from_le_bytes(place[8..10].try_into().unwrap()) as usize * 3;
            let mut buffer = vec![0xaa; length];
            let read = file.read_at(&mut buffer, offset as u64).unwrap();
            let expected = &model[offset.min(model.len())..(offset + length).min(model.len())];
            assert!(buffer[..read] == *expected, "{name} {offset} {length}");
        }
    }
}

#[test]
fn ordinary_programs_read_it_in_parallel() {
    let mounted = Mounted::of(|folder| {
        fs::create_dir(folder.join("bin")).unwrap();
        fs::copy("/bin/ls", folder.join("bin/ls")).unwrap();
        fs::write(folder.join("large"), noise(5, 30 << 20)).unwrap();
        fs::write(folder.join("text"), "words ".repeat(1_000_000)).unwrap();
    });
    let sums = |folder: &Path| output("sha256sum", &["large", "text", "bin/ls"], folder);
    let expected = sums(&mounted.source());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(sums(&mounted.point()), expected));
        }
    });
    // Running a program maps it.
    let listed = output("./bin/ls", &["/"], &mounted.point());
    assert!(listed.contains("proc"));
    let copy = mounted.top.path().join("copy");
    fs::create_dir(&copy).unwrap();
    output("cp", &["-a", ".", copy.to_str().unwrap()], &mounted.point());
    assert_eq!(sums(&copy), expected);
}

#[test]
fn holes_stay_holes_for_those_who_ask() {
    let mounted = Mounted::of(|folder| {
        let sparse = File::create(folder.join("sparse")).unwrap();
        sparse.write_all_at(&noise(6, 1 << 20), 1 << 30).unwrap();
        sparse.set_len(10 << 30).unwrap();
    });
    let path = mounted.point().join("sparse");
    let about = fs::metadata(&path).unwrap();
    assert_eq!(about.len(), 10 << 30);
    assert!(about.blocks() * 512 < 2 << 20, "{}", about.blocks());
    let copy = mounted.top.path().join("copy");
    output(
        "cp",
        &[path.to_str().unwrap(), copy.to_str().unwrap()],
        Path::new("/"),
    );
    assert!(fs::metadata(&copy).unwrap().blocks() * 512 < 2 << 20);
    let mut found = vec![0; 1 << 20];
    File::open(&copy)
        .unwrap()
        .read_exact_at(&mut found, 1 << 30)
        .unwrap();
    assert!(found == noise(6, 1 << 20));
}

#[test]
fn an_overlay_over_it_takes_writes_and_leaves_it_alone() {
    let mounted = Mounted::of(|folder| {
        fs::write(folder.join("kept"), noise(7, 3 << 20)).unwrap();
        fs::write(folder.join("gone"), "x").unwrap();
        fs::create_dir(folder.join("folder")).unwrap();
        fs::write(folder.join("folder/inner"), "old").unwrap();
    });
    let before = Tree::read(&mounted.point()).unwrap();
    let [upper, work, merged] = ["upper", "work", "merged"].map(|name| {
        let path = mounted.top.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    });
    mount_overlay(&merged, &[&mounted.point()], &upper, &work).unwrap();
    fs::OpenOptions::new()
        .append(true)
        .open(merged.join("kept"))
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"more"))
        .unwrap();
    fs::remove_file(merged.join("gone")).unwrap();
    fs::write(merged.join("folder/inner"), "new").unwrap();
    fs::rename(merged.join("folder/inner"), merged.join("moved")).unwrap();
    let kept = fs::read(merged.join("kept")).unwrap();
    let names = fs::read_dir(&merged).unwrap().count();
    unmount(&merged).unwrap();
    assert_eq!(kept, [&noise(7, 3 << 20)[..], b"more"].concat());
    assert_eq!((names, upper.join("kept").exists()), (3, true));
    let after = Tree::read(&mounted.point()).unwrap();
    assert_eq!(before.differences(&after), Vec::<String>::new());
}

#[test]
fn suid_is_honoured_and_other_users_are_held_to_the_modes() {
    let mounted = Mounted::of(|folder| {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy("/usr/bin/id", folder.join("id")).unwrap();
        chown(folder.join("id"), Some(1234), Some(1234)).unwrap();
        fs::set_permissions(folder.join("id"), fs::Permissions::from_mode(0o4755)).unwrap();
        fs::write(folder.join("secret"), "x").unwrap();
        fs::set_permissions(folder.join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    });
    assert_eq!(output("./id", &["-u"], &mounted.point()), "1234\n");
    let nobody = |program: &str| {
        let mut command = Command::new(program);
        std::os::unix::process::CommandExt::uid(&mut command, 65534);
        command.current_dir(mounted.point());
        command.arg("secret").output().unwrap().status.success()
    };
    assert!(!nobody("cat"));
    let refused = fs::write(mounted.point().join("new"), "x").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
}

#[test]
fn a_damaged_chunk_fails_its_file_alone_and_is_named_once() {
    let mounted = Mounted::unmounted(|folder| {
        fs::create_dir(folder.join("inner")).unwrap();
        fs::write(folder.join("inner/damaged"), noise(8, 50_000)).unwrap();
        fs::write(folder.join("sound"), noise(9, 50_000)).unwrap();
    });
    flip_stored(&mounted.root(), &noise(8, 50_000)[20_000..20_064]);
    let mounted = mounted.serve();
    for _ in 0..3 {
        let error = fs::read(mounted.point().join("inner/damaged")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(5));
    }
    assert!(fs::read(mounted.point().join("sound")).unwrap() == noise(9, 50_000));
    let said = mounted.said();
    assert_eq!(said.matches("/inner/damaged").count(), 1, "{said}");
    assert!(said.contains(&mounted.snapshot.to_string()), "{said}");
}

/// Flips a bit of the only place in the packs where these bytes lie.
fn flip_stored(root: &Path, bytes: &[u8]) {
    let listed = output("find", &["packs", "-name", "*.pack"], root);
    let mut flipped = 0;
    for pack in listed.lines().map(|line| root.join(line)) {
        let mut content = fs::read(&pack).unwrap();
        if let Some(at) = content.windows(bytes.len()).position(|run| run == bytes) {
            content[at] ^= 1;
            fs::write(&pack, content).unwrap();
            flipped += 1;
        }
    }
    assert_eq!(flipped, 1);
}

#[test]
fn an_unmount_ends_the_server_with_success() {
    let mut mounted = Mounted::of(|folder| fs::write(folder.join("file"), "x").unwrap());
    unmount(&mounted.point()).unwrap();
    assert!(mounted.ended(), "{}", mounted.said());
}

#[test]
fn an_interrupt_unmounts() {
    let mut mounted = Mounted::of(|folder| fs::write(folder.join("file"), "x").unwrap());
    let pid = rustix::process::Pid::from_child(mounted.server.as_ref().unwrap());
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(mounted.ended(), "{}", mounted.said());
    assert!(!is_mounted(&mounted.point()).unwrap());
}

#[test]
fn a_bind_of_it_takes_no_devices_and_no_suid() {
    let mounted = Mounted::of(|folder| fs::write(folder.join("file"), "x").unwrap());
    let bind = mounted.top.path().join("bind");
    fs::create_dir(&bind).unwrap();
    mount_bind_read_only(&mounted.point(), &bind).unwrap();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = mounts
        .lines()
        .find(|line| line.contains(bind.to_str().unwrap()));
    let (line, read) = (line.unwrap().to_owned(), fs::read(bind.join("file")));
    unmount(&bind).unwrap();
    assert!(line.contains("ro,nosuid,nodev"), "{line}");
    assert_eq!(read.unwrap(), b"x");
}

#[test]
fn a_snapshot_that_is_not_there_is_an_error_and_nothing_is_mounted() {
    let mounted = Mounted::unmounted(|_| {});
    let output = Command::new(env!("CARGO_BIN_EXE_snapshotd-mount"))
        .arg("mount")
        .arg("--root")
        .arg(mounted.root())
        .args(["--snapshot", &SnapshotId::random().to_string()])
        .arg(mounted.point())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && errors.contains("was not found"),
        "{errors}"
    );
    assert!(!is_mounted(&mounted.point()).unwrap());
}
