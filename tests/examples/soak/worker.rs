//! One who captures, restores, mounts and removes: with a source of his own and snapshots nobody else touches.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use snap_tests::{Dice, Image, Tree, noise, text};

use crate::{
    ledger::Ledger,
    source::{Source, change},
    stage::Stage,
};

/// More snapshots than these are not kept, so that there is something to collect.
const MOST_KEPT: usize = 10;
/// More containers and folders than these do not stand on snapshots at once.
const MOST_USES: usize = 4;
const IDLE: &str = "trap 'exit 0' TERM; while :; do sleep 0.5; done";

/// Something that stands on a snapshot and has to show it.
#[derive(Debug)]
pub(crate) struct Use {
    pub(crate) place: Place,
    /// The record it stands on; none for a fresh container, made after the snapshot had expired.
    pub(crate) record: Option<usize>,
    /// What must be read there.
    pub(crate) tree: Arc<Tree>,
}

/// Where it is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// A restored container and its root.
    Container { id: String, root: PathBuf },
    /// A mounted folder.
    Folder { path: PathBuf, is_writable: bool },
}

/// What may yet appear because a client was killed.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    /// Ids of restored containers begin so.
    pub(crate) containers: Vec<String>,
    pub(crate) folders: Vec<PathBuf>,
    /// A capture may be reading the source: it is not changed.
    pub(crate) is_captured: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) name: String,
    pub(crate) dice: Dice,
    pub(crate) ledger: Ledger,
    pub(crate) source: Source,
    pub(crate) uses: Vec<Use>,
    pub(crate) doubts: Doubts,
    /// The image of the source, when it is one of its own.
    image: Option<String>,
    next: u64,
}

impl Use {
    pub(crate) fn root(&self) -> &Path {
        match &self.place {
            Place::Container { root, .. } => root,
            Place::Folder { path, .. } => path,
        }
    }

    /// Reads it and compares.
    ///
    /// # Errors
    /// What differs.
    pub(crate) fn check(&self) -> Result<()> {
        equal(&self.tree, self.root())
    }
}

/// What is below the folder must be the tree.
pub(crate) fn equal(tree: &Tree, root: &Path) -> Result<()> {
    let differences = tree.differences(&Tree::read(root)?);
    ensure!(
        differences.is_empty(),
        "{} is not what was captured: {differences:#?}",
        root.display()
    );
    Ok(())
}

impl Worker {
    /// The even ones capture a container, the odd ones a folder.
    pub(crate) fn new(stage: &Stage, number: u64, seed: u64) -> Result<Self> {
        let mut worker = Self {
            name: format!("w{number}"),
            dice: Dice::from_seed(seed.wrapping_mul(31).wrapping_add(number)),
            ledger: Ledger::default(),
            source: Source::Folder(PathBuf::new()),
            uses: Vec::new(),
            doubts: Doubts::default(),
            image: None,
            next: 0,
        };
        if number.is_multiple_of(2) {
            let id = worker.new_name("c");
            stage
                .host()
                .run(&id, stage.host().image(Image::Busybox)?, IDLE)?;
            worker.source = Source::Container(id);
        } else {
            let name = worker.new_name("data");
            worker.source = Source::Folder(stage.host().make_folder(&name)?);
        }
        worker.change_source(stage)?;
        Ok(worker)
    }

    /// A name nobody has had.
    pub(crate) fn new_name(&mut self, kind: &str) -> String {
        self.next += 1;
        format!("{}{kind}{}", self.name, self.next)
    }

    /// One of them by chance.
    pub(crate) fn pick(&mut self, numbers: &[usize]) -> Option<usize> {
        let chosen = self.dice.below(numbers.len() as u64);
        numbers.get(chosen as usize).copied()
    }

    /// Does one thing; returns how long to wait before the next.
    pub(crate) fn round(&mut self, stage: &Stage) -> Result<Duration> {
        let is_full = self.ledger.kept().len() >= MOST_KEPT;
        let is_busy = self.uses.len() >= MOST_USES;
        let done = match self.dice.below(100) {
            0..20 => self.change_source(stage),
            20..40 if !is_full => self.capture_source(stage),
            20..40 | 72..80 => self.remove(stage),
            40..52 if !is_busy => self.restore(stage),
            52..64 if !is_busy => self.mount(stage),
            40..72 => self.release(stage),
            80..87 => self.look(stage),
            87..91 => self.set_time_to_live(stage),
            91..94 => self.change_use(stage),
            94..97 if !is_full => self.capture_use(stage),
            97..99 => self.copy(stage),
            _ => self.renew_source(stage),
        };
        done.with_context(|| format!("{} at {:.3} of the run", self.name, stage.progress()))?;
        Ok(Duration::from_millis(50 + self.dice.below(400)))
    }

    /// Where the source's files are.
    pub(crate) fn source_root(&self, stage: &Stage) -> PathBuf {
        match &self.source {
            Source::Container(id) => stage.host().rootfs(id),
            Source::Folder(path) => path.clone(),
        }
    }

    fn change_source(&mut self, stage: &Stage) -> Result<()> {
        if self.doubts.is_captured {
            return Ok(());
        }
        let written = change(&self.source_root(stage), &mut self.dice)?;
        stage.count("change what is captured");
        stage.add("bytes written", written);
        Ok(())
    }

    fn change_use(&mut self, stage: &Stage) -> Result<()> {
        let takes_writes = |one: &Use| {
            !matches!(
                one.place,
                Place::Folder {
                    is_writable: false,
                    ..
                }
            )
        };
        let Some(one) = self.uses.iter_mut().find(|one| takes_writes(one)) else {
            return Ok(());
        };
        let written = change(one.root(), &mut self.dice)?;
        one.tree = Arc::new(Tree::read(one.root())?);
        stage.count("change what was restored or mounted");
        stage.add("bytes written", written);
        Ok(())
    }

    /// Another container of another image, whose layer is captured anew; the old one and its image go.
    fn renew_source(&mut self, stage: &Stage) -> Result<()> {
        let Source::Container(old) = self.source.clone() else {
            return Ok(());
        };
        if self.doubts.is_captured {
            return Ok(());
        }
        let (host, id) = (stage.host(), self.new_name("c"));
        let layer = host.make_folder(&self.new_name("layer"))?;
        let bytes = 1 + self.dice.below(2 << 20);
        noise(&layer.join("of-its-own"), bytes)?;
        let image = format!("snap.test/{id}:1");
        {
            let _one_at_a_time = stage.importing();
            host.import_layers(&image, &[&Image::Busybox.rootfs()?, &layer])?;
        }
        std::fs::remove_dir_all(&layer)?;
        host.run(&id, &image, IDLE)?;
        host.remove_by_ctr(&old)?;
        self.source = Source::Container(id);
        if let Some(old) = self.image.replace(image) {
            host.ctr(&["images", "remove", "--sync", &old])?.ok()?;
        }
        stage.count("replace the container that is captured");
        stage.add("bytes written", bytes);
        Ok(())
    }

    /// Removes the source and its image.
    pub(crate) fn end_source(&mut self, stage: &Stage) -> Result<()> {
        if let Source::Container(id) = &self.source {
            stage.host().remove_by_ctr(id)?;
        }
        if let Some(image) = self.image.take() {
            stage
                .host()
                .ctr(&["images", "remove", "--sync", &image])?
                .ok()?;
        }
        Ok(())
    }

    /// The arguments that name the source.
    pub(crate) fn source_arguments(&self) -> Result<Vec<String>> {
        Ok(match &self.source {
            Source::Container(id) => vec![id.clone()],
            Source::Folder(path) => vec!["--path".to_owned(), text(path)?.to_owned()],
        })
    }
}
