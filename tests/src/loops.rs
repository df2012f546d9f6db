//! A small file system in a file, for the cases that need a full disk or one with reflinks.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{Answer, fixtures::script};

/// A mounted file system of its own; unmounted and removed when dropped.
#[derive(Debug)]
pub struct LoopFolder {
    holder: PathBuf,
    mounted: PathBuf,
}

impl LoopFolder {
    /// An empty file system of the type (`ext4`, `xfs`) and size.
    ///
    /// # Errors
    /// When it cannot be made or mounted.
    pub fn new(kind: &str, bytes: u64) -> Result<Self> {
        let holder = PathBuf::from(script("disk-folder", &["snaploop"])?);
        let folder = Self {
            mounted: holder.join("mounted"),
            holder,
        };
        let image = folder.holder.join("image");
        File::create(&image)
            .and_then(|file| file.set_len(bytes))
            .context("Make the file of the loop device")?;
        std::fs::create_dir(&folder.mounted).context("Make the mount point")?;
        run(Command::new(format!("mkfs.{kind}")).arg("-q").arg(&image))?;
        run(Command::new("mount")
            .args(["-o", "loop"])
            .args([&image, &folder.mounted]))?;
        Ok(folder)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.mounted
    }
}

impl Drop for LoopFolder {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg("--lazy").arg(&self.mounted));
        let _ = std::fs::remove_dir_all(&self.holder);
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("Run {}", command.get_program().display()))?;
    Answer::new(format!("{command:?}"), &output).ok().map(drop)
}
