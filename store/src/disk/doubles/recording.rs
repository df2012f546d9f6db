//! What an operation did to a disk, step by step, and what a power cut after each step could leave of it.

use std::ops::ControlFlow;

use super::{
    MemoryDisk,
    content::{Change, Content, Image},
};

/// The changes of one operation, in the order the disk saw them.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    pub(super) start: Content,
    pub(super) changes: Vec<Change>,
}

/// One thing that could be found after a power cut.
#[derive(Debug)]
pub(crate) struct Point {
    /// Where the power went, and what of the rest was written; for messages.
    pub(crate) name: String,
    /// True when the operation had ended before.
    pub(crate) is_end: bool,
    /// What is found.
    pub(crate) disk: MemoryDisk,
}

impl Recording {
    /// How many steps there were.
    pub(crate) fn steps(&self) -> usize {
        self.changes.len()
    }

    /// Shows `look` everything that a power cut before, between and after the steps could leave, the last moment first: for each
    /// the corners (see [`Image`]) and as many arbitrary images as there are `seeds`, or one image when all of them are the same.
    pub(crate) fn points(&self, seeds: u64, mut look: impl FnMut(Point) -> ControlFlow<()>) {
        let moments = self.moments();
        for (step, (name, content)) in moments.iter().enumerate().rev() {
            let images = if content.is_settled() { 1 } else { usize::MAX };
            for image in Image::all(seeds).take(images) {
                let point = Point {
                    name: format!("{name}, {image:?}"),
                    is_end: step == self.steps(),
                    disk: MemoryDisk::holding(content.after_power_cut(image)),
                };
                if look(point).is_break() {
                    return;
                }
            }
        }
    }

    /// What the disk held before the first step and after each.
    fn moments(&self) -> Vec<(String, Content)> {
        let mut content = self.start.clone();
        let mut moments = vec![("before the first step".to_owned(), content.clone())];
        for (step, change) in (1..).zip(&self.changes) {
            content.apply(change);
            let did = content.describe(change);
            let name = format!("after step {step} of {} ({did})", self.steps());
            moments.push((name, content.clone()));
        }
        moments
    }

    /// The steps that sync something, in words.
    pub(crate) fn syncs(&self) -> Vec<(usize, String)> {
        let mut content = self.start.clone();
        let mut found = Vec::new();
        for (step, change) in self.changes.iter().enumerate() {
            content.apply(change);
            let is_sync = matches!(
                change,
                Change::Sync(_) | Change::SyncFolder(_) | Change::SyncAll
            );
            found.extend(is_sync.then(|| (step, content.describe(change))));
        }
        found
    }

    /// The same operation, had it left out this step.
    pub(crate) fn without(&self, step: usize) -> Self {
        let mut other = self.clone();
        other.changes.remove(step);
        other
    }

    /// The same operation, had it done this step last of all.
    pub(crate) fn delaying(&self, step: usize) -> Self {
        let mut other = self.clone();
        let change = other.changes.remove(step);
        other.changes.push(change);
        other
    }
}
