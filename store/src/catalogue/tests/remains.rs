//! What a power cut leaves of a folder with a catalogue in it.
//!
//! Bytes are durable once their file was synced. Names are once their folder was; SQLite syncs that with a new log or journal, so here the
//! sync of a file makes its name durable as well. A rename leaves the old name, the new one or both.

use super::{vfs::Step, *};
use crate::disk::doubles::{Dice, Image, SECTOR_BYTES};

/// What the files of a folder hold; absent ones are left out.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// One file: what is durable, and what was done since.
#[derive(Clone, Debug, Default)]
struct Kept {
    /// Of the two kinds of things in an [`Image`], names stand for the log and bytes for everything else.
    is_log: bool,
    durable: Vec<u8>,
    since: Vec<Step>,
}

impl Kept {
    /// What is left of its bytes.
    fn image(&self, image: Image, dice: &mut Dice) -> Vec<u8> {
        let mut found = self.durable.clone();
        for step in &self.since {
            let sides = match image {
                Image::Corner { names, bytes } => [bytes, names][usize::from(self.is_log)].into(),
                Image::Torn { .. } => dice.roll(3),
            };
            match (sides, step) {
                (0, _) => {}
                (2, Step::Write(_, at, bytes)) => {
                    let sectors = bytes
                        .chunks(SECTOR_BYTES)
                        .zip((*at..).step_by(SECTOR_BYTES));
                    for (sector, at) in sectors.filter(|_| dice.roll(2) == 0) {
                        put(&mut found, at, sector);
                    }
                }
                (_, Step::Write(_, at, bytes)) => put(&mut found, *at, bytes),
                (_, Step::Truncate(_, size)) => found.resize(*size, 0),
                (_, other) => unreachable!("{other:?} changes no bytes"),
            }
        }
        found
    }
}

fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A change of names that is not durable yet.
#[derive(Clone, Debug)]
enum Pending {
    Named(String, usize),
    Moved(String, String, usize),
    Gone(String),
}

/// The numbers of files by their names.
type Names = BTreeMap<String, usize>;

#[derive(Clone, Debug, Default)]
struct Folder {
    files: Vec<Kept>,
    live: Names,
    durable: Names,
    pending: Vec<Pending>,
}

impl Folder {
    /// A folder of which everything is durable.
    fn of(start: &Files) -> Self {
        let mut folder = Self::default();
        for (name, bytes) in start {
            let number = folder.create(name);
            folder.files[number].durable.clone_from(bytes);
        }
        folder.sync_names();
        folder
    }

    fn create(&mut self, name: &str) -> usize {
        self.files.push(Kept {
            is_log: name.ends_with("-wal"),
            ..Kept::default()
        });
        let number = self.files.len() - 1;
        self.rename(Pending::Named(name.to_owned(), number));
        number
    }

    fn rename(&mut self, change: Pending) {
        apply(&mut self.live, &change);
        self.pending.push(change);
    }

    fn sync_names(&mut self) {
        self.durable = self.live.clone();
        self.pending.clear();
    }

    fn note(&mut self, step: &Step) {
        match step {
            Step::Create(name) => drop(self.create(name)),
            Step::Write(name, ..) | Step::Truncate(name, _) => {
                let known = self.live.get(name).copied();
                let number = known.unwrap_or_else(|| self.create(name));
                self.files[number].since.push(step.clone());
            }
            Step::Sync(name) => self.sync(name),
            Step::Rename(from, to) => {
                let number = self.live[from];
                self.rename(Pending::Moved(from.clone(), to.clone(), number));
            }
            Step::Remove(name) if self.live.contains_key(name) => {
                self.rename(Pending::Gone(name.clone()));
            }
            Step::Remove(_) => {}
            Step::SyncFolder => self.sync_names(),
        }
    }

    fn sync(&mut self, name: &str) {
        let number = self.live[name];
        let file = &mut self.files[number];
        file.durable = file.image(Image::EVERYTHING, &mut Dice::of(Image::EVERYTHING));
        file.since.clear();
        let is_of_it = |change: &Pending| match change {
            Pending::Named(other, _) | Pending::Gone(other) => other == name,
            Pending::Moved(..) => false,
        };
        let had = self.pending.len();
        self.pending.retain(|change| !is_of_it(change));
        if self.pending.len() < had {
            self.durable.insert(name.to_owned(), number);
        }
    }

    /// What is left of it.
    fn image(&self, image: Image) -> Files {
        let mut dice = Dice::of(image);
        let mut names = self.durable.clone();
        for change in &self.pending {
            if let Some(change) = self.part_of(change, image, &mut dice) {
                apply(&mut names, &change);
            }
        }
        let bytes: BTreeMap<usize, Vec<u8>> = names
            .values()
            .map(|number| (*number, self.files[*number].image(image, &mut dice)))
            .collect();
        let found = names.iter();
        found
            .map(|(name, number)| (name.clone(), bytes[number].clone()))
            .collect()
    }

    fn part_of(&self, change: &Pending, image: Image, dice: &mut Dice) -> Option<Pending> {
        let sides = match (image, change) {
            (Image::Torn { .. }, _) => dice.roll(3),
            (Image::Corner { bytes, .. }, Pending::Named(_, number))
                if !self.files[*number].is_log =>
            {
                2 * usize::from(bytes)
            }
            (Image::Corner { names, .. }, _) => 2 * usize::from(names),
        };
        match (sides, change) {
            (0, _) => None,
            // The new name is there, the old one not gone yet.
            (1, Pending::Moved(_, to, number)) => Some(Pending::Named(to.clone(), *number)),
            _ => Some(change.clone()),
        }
    }
}

fn apply(names: &mut Names, change: &Pending) {
    match change {
        Pending::Named(name, number) => drop(names.insert(name.clone(), *number)),
        Pending::Moved(from, to, number) => {
            names.remove(from);
            names.insert(to.clone(), *number);
        }
        Pending::Gone(name) => drop(names.remove(name)),
    }
}

/// Shows `look` what every power cut could leave, with so many arbitrary `images` at each step: its name, whether all steps were done,
/// and the files.
pub(super) fn points(
    start: &Files,
    steps: &[Step],
    images: u64,
    mut look: impl FnMut(String, bool, &Files),
) {
    let mut folder = Folder::of(start);
    for number in 0..=steps.len() {
        if let Some(step) = number.checked_sub(1).map(|before| &steps[before]) {
            folder.note(step);
        }
        for image in Image::all(images) {
            let name = format!("after step {number} of {}, {image:?}", steps.len());
            look(name, number == steps.len(), &folder.image(image));
        }
    }
}
