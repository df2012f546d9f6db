//! A mounted snapshot that is read and compared from the beginning to the end; its mount server is the one whose memory is measured.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::PathBuf,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::fs::{Advice, fadvise};
use snap_tests::{Dice, Tree, noise, text};

use crate::{
    client::{Said, unexpected},
    stage::Stage,
    worker::equal,
};

/// Four times what the mount server caches.
const BYTES: u64 = 32 << 20;
const READ_BYTES: usize = 64 << 10;

/// See the module.
#[derive(Debug)]
pub(crate) struct Watched {
    snapshot: String,
    source: PathBuf,
    folder: PathBuf,
    content: Vec<u8>,
    seed: u64,
}

impl Watched {
    pub(crate) fn make(stage: &Stage, seed: u64) -> Result<Self> {
        let host = stage.host();
        let source = host.make_folder("watched-source")?;
        noise(&source.join("file"), BYTES)?;
        let flags = ["--ttl", "never", "--label", "soak=watched"];
        let snapshot = host.capture(&source, &flags)?.snapshot.id;
        let folder = host.mount(&snapshot, "watched", &[])?;
        let content = fs::read(source.join("file"))?;
        // The kernel learns at the first close that there is nothing to flush: from then on no start of a process waits for
        // this mount's server.
        ensure!(
            fs::read(folder.join("file"))? == content,
            "The watched file is wrong"
        );
        Ok(Self {
            content,
            snapshot,
            source,
            folder,
            seed,
        })
    }

    pub(crate) fn snapshot(&self) -> &str {
        &self.snapshot
    }

    /// Reads pieces past the page cache and compares them.
    pub(crate) fn read_until_over(&self, stage: &Stage) -> Result<()> {
        let (file, mut dice) = (
            File::open(self.folder.join("file"))?,
            Dice::from_seed(self.seed),
        );
        let mut piece = vec![0; READ_BYTES];
        while !stage.is_over() {
            fadvise(&file, 0, None, Advice::DontNeed)?;
            let offset = dice.below(BYTES - READ_BYTES as u64);
            file.read_exact_at(&mut piece, offset)
                .with_context(|| format!("Read the watched file at {offset}"))?;
            let start = offset as usize;
            ensure!(
                piece == self.content[start..start + READ_BYTES],
                "The watched file is wrong at {offset}"
            );
            stage.count("reads of the watched file that were right");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    pub(crate) fn check(&self) -> Result<()> {
        equal(&Tree::read(&self.source)?, &self.folder)
    }

    /// Unmounts and removes it.
    pub(crate) fn end(self, stage: &Stage) -> Result<()> {
        for arguments in [["unmount", text(&self.folder)?], ["remove", &self.snapshot]] {
            if let Said::Refused(answer) = stage.insist(&arguments)? {
                return Err(unexpected(&answer));
            }
        }
        fs::remove_dir(&self.folder).context("Remove the mount point")
    }
}
