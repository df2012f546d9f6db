//! The steps of a walk between its stages, and telling a visitor of them.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use snap_store::{Error, Progress, Result};

use super::{Met, Visitor, push, to_path};
use crate::capture::stat::Stat;

/// A batch is handed on with so many steps: enough that waking who waits for it costs nothing beside them.
pub(super) const BATCH_STEPS: usize = 256;
/// Or with so many folders entered in it, each of which is open.
pub(super) const BATCH_FOLDERS: usize = 16;

/// Steps on their way to the teller.
#[derive(Debug, Default)]
pub(super) struct Batch {
    steps: Vec<Step>,
    /// Their names, one after the other.
    names: Vec<u8>,
    folders: usize,
}

/// A step and how many bytes its name has.
#[derive(Debug)]
struct Step {
    what: What,
    name_bytes: usize,
}

/// What a step comes to.
#[derive(Debug)]
pub(super) enum What {
    /// A folder was entered; below the one that was entered last and not left, if there is one.
    Entered {
        folder: Arc<OwnedFd>,
        stat: Stat,
        parent: usize,
        number: usize,
    },
    /// The folder that was entered last was left.
    Left,
    /// Something in the folder that was entered last is no folder to be entered.
    Met { stat: Stat, how: How },
    /// A name in the folder that was entered last and not left is gone; without a name the folder itself is.
    Gone,
}

/// As what something was met.
#[derive(Clone, Copy, Debug)]
pub(super) enum How {
    /// As an entry.
    Entry,
    /// The patterns leave it out.
    Excluded,
    /// Something is mounted on it; a folder takes this number.
    Mount(Option<usize>),
}

impl Batch {
    /// Adds a step.
    pub(super) fn push(&mut self, what: What, name: &[u8]) {
        self.folders += usize::from(matches!(what, What::Entered { .. }));
        self.names.extend_from_slice(name);
        self.steps.push(Step {
            what,
            name_bytes: name.len(),
        });
    }

    /// True when it is to be handed on.
    pub(super) fn is_full(&self) -> bool {
        self.steps.len() >= BATCH_STEPS || self.folders >= BATCH_FOLDERS
    }
}

/// Tells a visitor of steps.
pub(super) struct Teller<'a> {
    visitor: &'a mut dyn Visitor,
    progress: &'a dyn Progress,
    /// Path of the folder that was entered last and not left, and of what is in it while that is told.
    path: Vec<u8>,
    /// Lengths of the paths of the folders that were entered and not left.
    lengths: Vec<usize>,
    /// The folder that was entered last, and its number.
    folder: Option<(Arc<OwnedFd>, usize)>,
}

impl<'a> Teller<'a> {
    pub(super) fn new(visitor: &'a mut dyn Visitor, progress: &'a dyn Progress) -> Self {
        Self {
            visitor,
            progress,
            path: Vec::new(),
            lengths: Vec::new(),
            folder: None,
        }
    }

    /// Tells of the steps of `batch`.
    ///
    /// # Errors
    /// The visitor's; [`Error::Cancelled`].
    pub(super) fn tell(&mut self, batch: Batch) -> Result<()> {
        let mut names = &batch.names[..];
        for Step { what, name_bytes } in batch.steps {
            let (name, rest) = names.split_at(name_bytes);
            names = rest;
            match what {
                What::Left => self.leave(),
                What::Gone => self.lose(name),
                What::Met { stat, how } => self.meet(name, &stat, how)?,
                What::Entered {
                    folder,
                    stat,
                    parent,
                    number,
                } => self.enter(name, folder, &stat, (parent, number))?,
            }
        }
        Ok(())
    }

    fn enter(
        &mut self,
        name: &[u8],
        folder: Arc<OwnedFd>,
        stat: &Stat,
        (parent, number): (usize, usize),
    ) -> Result<()> {
        if self.progress.is_cancelled() {
            return Err(Error::Cancelled);
        }
        push(&mut self.path, name);
        self.lengths.push(self.path.len());
        let met = Met {
            parent,
            folder: folder.as_fd(),
            name,
            stat,
            path: &self.path,
        };
        self.visitor.folder(&met, number)?;
        self.folder = Some((folder, number));
        Ok(())
    }

    fn leave(&mut self) {
        self.folder = None;
        self.lengths.pop();
        self.path.truncate(self.length());
    }

    fn lose(&mut self, name: &[u8]) {
        if !name.is_empty() {
            push(&mut self.path, name);
        }
        self.visitor.vanished(to_path(&self.path));
        self.path.truncate(self.length());
    }

    fn meet(&mut self, name: &[u8], stat: &Stat, how: How) -> Result<()> {
        let Some((folder, number)) = &self.folder else {
            unreachable!("what is in a folder is told before the folder is left");
        };
        push(&mut self.path, name);
        let met = Met {
            parent: *number,
            folder: folder.as_fd(),
            name,
            stat,
            path: &self.path,
        };
        match how {
            How::Entry => self.visitor.entry(&met),
            How::Excluded => self.visitor.excluded(&met),
            How::Mount(number) => self.visitor.mount(&met, number),
        }?;
        self.path.truncate(self.length());
        Ok(())
    }

    /// Length of the path of the folder that was entered last and not left.
    fn length(&self) -> usize {
        self.lengths.last().copied().unwrap_or(0)
    }
}
