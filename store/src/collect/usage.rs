//! Usage: how much of the store groups of snapshots need, and how much of that nobody else does.
//!
//! What a group alone needs is found in one walk over all groups. Each row of the index has the one group that needs it, or says that several
//! do; a page that a second group comes to is walked once more, to say the same of everything below it, and never again. So each page is read twice at
//! most, however many snapshots share it, and memory is four bytes a row and sixteen a page. What a group needs in all takes a walk of its own, whose
//! memory is two bits a row: it is left out when that is not asked for.

use std::collections::HashMap;

use super::mark::{Finder, Marks, Page, walk};
use crate::{
    error::{Error, Result},
    ids::{Digest, SnapshotId},
    index::{Census, Location},
    progress::Progress,
    store::Store,
};

/// Nobody needs the row.
const NOBODY: u32 = 0;
/// More than one group needs it.
const SEVERAL: u32 = u32::MAX;

/// Chunks, and what they come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Chunks, pages among them; each once.
    pub chunks: u64,
    /// Bytes they have.
    pub raw_bytes: u64,
    /// Bytes they take in the store.
    pub stored_bytes: u64,
}

/// What a group of snapshots needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupUsage {
    /// All of it; `None` when that was not asked for.
    pub needed: Option<Amount>,
    /// What no snapshot of another group needs.
    pub unique: Amount,
}

/// What groups of snapshots need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// In the order of the groups.
    pub groups: Vec<GroupUsage>,
    /// Snapshots that could not be read whole: their numbers are too small.
    pub unreadable: u64,
}

impl Store {
    /// What each of `groups` needs, `in_full` or only what it alone needs. Snapshots that are in no group are another one; those that are gone
    /// need nothing.
    ///
    /// # Errors
    /// [`Error::Cancelled`], and whatever the disk says.
    pub fn usage(
        &self,
        groups: &[Vec<SnapshotId>],
        in_full: bool,
        progress: &dyn Progress,
    ) -> Result<Usage> {
        let mut groups = groups.to_vec();
        let counted = groups.len();
        groups.push(self.others(&groups)?);
        let mut counting = Counting {
            store: self,
            owners: Owners::new(self.rows()?, groups.len()),
            unreadable: 0,
            progress,
        };
        progress.phase("unique");
        for (number, group) in groups.iter().enumerate() {
            counting.owners.group = number;
            for id in group {
                counting.unique(id)?;
            }
        }
        let mut usage = Usage {
            unreadable: counting.unreadable,
            groups: Vec::with_capacity(counted),
        };
        progress.phase("needed");
        for (number, group) in groups[..counted].iter().enumerate() {
            usage.groups.push(GroupUsage {
                unique: counting.owners.unique[number],
                needed: in_full.then(|| counting.needed(group)).transpose()?,
            });
        }
        Ok(usage)
    }

    /// Those that are in none of the groups.
    fn others(&self, groups: &[Vec<SnapshotId>]) -> Result<Vec<SnapshotId>> {
        let mut others = self.manifests()?;
        let known: std::collections::HashSet<_> = groups.iter().flatten().collect();
        others.retain(|id| !known.contains(id));
        Ok(others)
    }

    /// The rows of everything that was published when the snapshots were listed.
    fn rows(&self) -> Result<Census> {
        let _turn = self.turn();
        if !self.index().recheck()? {
            let scratch = self.scratch()?;
            self.index().settle(&scratch.path)?;
        }
        Ok(self.index().glance())
    }
}

/// A count under way.
struct Counting<'a> {
    store: &'a Store,
    owners: Owners,
    unreadable: u64,
    progress: &'a dyn Progress,
}

impl Counting<'_> {
    fn unique(&mut self, id: &SnapshotId) -> Result<()> {
        let mut is_whole = true;
        for root in roots(self.store, id)? {
            is_whole &= walk(self.store, &root, &mut self.owners, self.progress)?
                .unknown
                .is_none();
        }
        // One that was removed meanwhile is no damage.
        if !is_whole && !roots(self.store, id)?.is_empty() {
            self.unreadable += 1;
        }
        Ok(())
    }

    fn needed(&self, group: &[SnapshotId]) -> Result<Amount> {
        let mut needs = Needs {
            marks: Marks::new(self.store.index().glance()),
            amount: Amount::default(),
        };
        for id in group {
            for root in roots(self.store, id)? {
                walk(self.store, &root, &mut needs, self.progress)?;
            }
        }
        Ok(needs.amount)
    }
}

/// The trees of a snapshot; none when it is gone.
fn roots(store: &Store, id: &SnapshotId) -> Result<Vec<Digest>> {
    match store.manifest(id) {
        Ok(manifest) => Ok(manifest.roots().map(|root| root.digest).collect()),
        Err(Error::NotFound { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Which group needs each row.
#[derive(Debug)]
struct Owners {
    census: Census,
    /// The number of the group above zero, or one of the two constants.
    rows: Vec<u32>,
    /// The same for pages that were walked.
    pages: HashMap<u64, u32>,
    unique: Vec<Amount>,
    /// The one that is walked.
    group: usize,
}

impl Owners {
    fn new(census: Census, groups: usize) -> Self {
        let rows = usize::try_from(census.rows()).expect("segments count rows in 32 bits");
        Self {
            census,
            rows: vec![NOBODY; rows],
            pages: HashMap::new(),
            unique: vec![Amount::default(); groups],
            group: 0,
        }
    }

    fn own(&self) -> u32 {
        u32::try_from(self.group + 1).expect("there are fewer groups than snapshots")
    }

    /// Notes that the group needs the row.
    fn take(&mut self, row: u64, place: &Location) {
        let own = self.own();
        let owner = &mut self.rows[row as usize];
        match *owner {
            SEVERAL => {}
            NOBODY => {
                *owner = own;
                self.unique[self.group].add(place);
            }
            other if other == own => {}
            other => {
                *owner = SEVERAL;
                self.unique[other as usize - 1].subtract(place);
            }
        }
    }
}

impl Finder for Owners {
    fn chunk(&mut self, digest: &Digest) -> Result<()> {
        if let Some((row, place)) = self.census.find(digest)? {
            self.take(row, &place);
        }
        Ok(())
    }

    fn page(&mut self, digest: &Digest) -> Result<Page> {
        let Some((row, place)) = self.census.find(digest)? else {
            return Ok(Page::Missing);
        };
        self.take(row, &place);
        let own = self.own();
        let walked = self.pages.entry(row).or_insert(NOBODY);
        Ok(match *walked {
            NOBODY => {
                *walked = own;
                Page::New
            }
            // Everything below has been said to be several's, or is about to be.
            SEVERAL => Page::Known,
            other if other == own => Page::Known,
            _ => {
                *walked = SEVERAL;
                Page::New
            }
        })
    }
}

/// Everything one group needs.
struct Needs {
    marks: Marks,
    amount: Amount,
}

impl Needs {
    fn count(&mut self, digest: &Digest) -> Result<()> {
        if self.marks.needed(digest)?.is_none()
            && let Some((_, place)) = self.marks.census().find(digest)?
        {
            self.amount.add(&place);
        }
        Ok(())
    }
}

impl Finder for Needs {
    fn chunk(&mut self, digest: &Digest) -> Result<()> {
        self.count(digest)?;
        self.marks.chunk(digest)
    }

    fn page(&mut self, digest: &Digest) -> Result<Page> {
        self.count(digest)?;
        self.marks.page(digest)
    }
}

impl Amount {
    fn add(&mut self, place: &Location) {
        self.chunks += 1;
        self.raw_bytes += u64::from(place.frame.raw_bytes);
        self.stored_bytes += u64::from(place.frame.stored_bytes);
    }

    fn subtract(&mut self, place: &Location) {
        self.chunks -= 1;
        self.raw_bytes -= u64::from(place.frame.raw_bytes);
        self.stored_bytes -= u64::from(place.frame.stored_bytes);
    }
}
