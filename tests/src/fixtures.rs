//! Root file systems and images, made once by the scripts and kept below the target folder.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::Answer;

/// The images tests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// One static busybox; starts in no time.
    Busybox,
    /// A small Debian.
    Debian,
    /// Debian with interpreters and servers: Python, Node.js, Redis, nginx.
    Programs,
    /// Debian with PostgreSQL and a Java machine.
    Services,
}

impl Image {
    /// The image's name in containerd.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Busybox => "snap.test/busybox:1",
            Self::Debian => "snap.test/debian:1",
            Self::Programs => "snap.test/programs:1",
            Self::Services => "snap.test/services:1",
        }
    }

    /// The image's root file system, not to be changed.
    ///
    /// # Errors
    /// When it cannot be made; the script says why.
    pub fn rootfs(self) -> Result<PathBuf> {
        let kind = match self {
            Self::Busybox => "busybox",
            Self::Debian => "debian",
            Self::Programs => "programs",
            Self::Services => "services",
        };
        Ok(PathBuf::from(script("rootfs", &[kind])?))
    }

    /// The image as an archive, made the first time.
    pub(crate) fn archive(self) -> Result<PathBuf> {
        let rootfs = self.rootfs()?;
        let archive = rootfs.with_extension("tar");
        if !archive.exists() {
            pack(self.name(), &archive, &[&rootfs])?;
        }
        Ok(archive)
    }
}

/// Packs `folders` as the layers of the image `name` into `archive`.
pub(crate) fn pack(name: &str, archive: &Path, folders: &[&Path]) -> Result<()> {
    let mut arguments = vec![name, text(archive)?];
    for folder in folders {
        arguments.push(text(folder)?);
    }
    script("image", &arguments).map(drop)
}

/// Runs one of the project's scripts and returns what it printed.
///
/// # Errors
/// When it fails.
pub fn script(name: &str, arguments: &[&str]) -> Result<String> {
    let path = project().join("scripts").join(name);
    let output = Command::new(&path)
        .args(arguments)
        .output()
        .with_context(|| format!("Run {}", path.display()))?;
    Answer::new(format!("scripts/{name} {}", arguments.join(" ")), &output).ok()
}

/// A program of `tests/workloads`, static, so that it runs in any root file system; compiled each time.
///
/// # Errors
/// When the compiler fails.
pub fn workload(name: &str) -> Result<PathBuf> {
    let source = project().join("tests/workloads").join(format!("{name}.c"));
    let program = fixture_folder("workloads")?.join(name);
    let draft = program.with_extension(std::process::id().to_string());
    let output = Command::new("cc")
        .args(["-O2", "-static", "-Wall", "-Wextra", "-Werror", "-o"])
        .args([&draft, &source])
        .output()
        .context("Run cc")?;
    Answer::new(format!("cc {name}.c"), &output).ok()?;
    fs::rename(&draft, &program).context("Put the program in place")?;
    Ok(program)
}

/// A folder below the target folder that outlives the test, for things that are costly to make.
///
/// # Errors
/// When it cannot be made.
pub fn fixture_folder(name: &str) -> Result<PathBuf> {
    let target =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| project().join("target"), PathBuf::from);
    let folder = target.join("fixtures").join(name);
    fs::create_dir_all(&folder).with_context(|| format!("Make {}", folder.display()))?;
    Ok(folder)
}

/// The path of one of our programs, built before the tests.
///
/// # Errors
/// When it is not built.
pub fn program(name: &str) -> Result<PathBuf> {
    let test = env::current_exe().context("Find this test's own program")?;
    let found = test
        .ancestors()
        .skip(1)
        .take(3)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    let Some(path) = found else {
        bail!(
            "There is no `{name}` beside {}; build it first: cargo build --bins",
            test.display()
        );
    };
    Ok(path)
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests' folder lies in the project's")
}

fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}
