//! Calls that most tests make, each one `snapctl` with its answer read.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result};
use snap_api::{Created, SnapshotDetail, SnapshotState, SnapshotView, TreeEntry};

use crate::{Answer, Host, HostOptions, Image, script};

/// The path as an argument.
///
/// # Errors
/// When it is not UTF-8.
pub fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}

/// Writes so many random bytes to a new file.
///
/// # Errors
/// When it cannot be written.
pub fn noise(path: &Path, bytes: u64) -> Result<()> {
    let mut random = File::open("/dev/urandom")?.take(bytes);
    io::copy(&mut random, &mut File::create(path)?)?;
    Ok(())
}

impl Host {
    /// A host for folders alone, with this configuration.
    ///
    /// # Errors
    /// As `start`.
    pub fn start_without_containerd(config: &str) -> Result<Self> {
        Self::start_with(&HostOptions {
            config: config.to_owned(),
            without_containerd: true,
            ..HostOptions::default()
        })
    }

    /// A host with an idle busybox container of that id.
    ///
    /// # Errors
    /// As `start`.
    pub fn start_with_idle(id: &str) -> Result<Self> {
        let host = Self::start()?;
        host.run_idle(id, Image::Busybox)?;
        Ok(host)
    }

    /// Captures a folder, with further flags of `snapctl create`.
    ///
    /// # Errors
    /// When it fails.
    pub fn capture(&self, folder: &Path, flags: &[&str]) -> Result<Created> {
        let mut arguments = vec!["create", "--path", text(folder)?];
        arguments.extend(flags);
        self.snap_json(&arguments)
    }

    /// What `snapctl show` says of a snapshot.
    ///
    /// # Errors
    /// When it fails.
    pub fn show(&self, reference: &str) -> Result<SnapshotDetail> {
        self.snap_json(&["show", reference])
    }

    /// The state of a snapshot, and why it failed.
    ///
    /// # Errors
    /// When it is not found.
    pub fn state_of(&self, reference: &str) -> Result<(SnapshotState, Option<String>)> {
        let SnapshotView { state, reason, .. } = self.show(reference)?.snapshot;
        Ok((state, reason))
    }

    /// Paths of everything below a folder of a snapshot.
    ///
    /// # Errors
    /// When `snapctl tree` fails.
    pub fn paths_in(&self, reference: &str, folder: &str) -> Result<Vec<String>> {
        let entries: Vec<TreeEntry> =
            self.snap_json(&["tree", reference, folder, "--recursive"])?;
        Ok(entries.iter().map(|entry| entry.path.to_string()).collect())
    }

    /// Mounts a snapshot at a new folder of that name.
    ///
    /// # Errors
    /// When it fails.
    pub fn mount(&self, reference: &str, name: &str, flags: &[&str]) -> Result<std::path::PathBuf> {
        let folder = self.make_folder(name)?;
        let mut arguments = vec!["mount", reference, text(&folder)?];
        arguments.extend(flags);
        self.snap(&arguments)?;
        Ok(folder)
    }

    /// Names and sizes of all files of the store: what a look that changes nothing leaves alone.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn stored_files(&self) -> Result<Vec<(String, u64)>> {
        let mut found = Vec::new();
        for folder in ["packs", "index", "manifests", "drafts"] {
            list_files(&self.root().join(folder), &mut found)?;
        }
        found.sort();
        Ok(found)
    }
}

impl Host {
    /// All that a reboot ends: tasks, daemons, mount servers, mounts (those at `folders` too) and what is kept in memory.
    ///
    /// # Errors
    /// When something does not end.
    pub fn power_off(&mut self, folders: &[&Path]) -> Result<()> {
        self.take_daemon()?.kill()?;
        for folder in folders {
            let output = Command::new("umount").arg("--lazy").arg(folder).output()?;
            Answer::new("umount".to_owned(), &output).ok()?;
        }
        script("containerd", &["stop", text(self.folder())?])?;
        for state in [
            self.folder().join("containerd/state"),
            self.state().to_owned(),
        ] {
            if state.exists() {
                fs::remove_dir_all(&state)?;
            }
        }
        Ok(())
    }
}

fn list_files(folder: &Path, found: &mut Vec<(String, u64)>) -> Result<()> {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let entry = entry?;
        let about = entry.metadata()?;
        if about.is_dir() {
            list_files(&entry.path(), found)?;
        } else {
            found.push((entry.path().display().to_string(), about.len()));
        }
    }
    Ok(())
}
