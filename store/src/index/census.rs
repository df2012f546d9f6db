//! The index at one moment, its rows numbered through, so that whoever counts chunks needs a bit for each and no table of digests.

use std::sync::Arc;

use super::{merge::SegmentRows, segment::Location, view::View};
use crate::{
    error::Result,
    ids::{Digest, PackId},
};

/// The rows there are. What is published later is not among them, what is removed later still is.
#[derive(Debug)]
pub(crate) struct Census {
    view: Arc<View>,
    /// The number of each segment's first row.
    starts: Vec<u64>,
    rows: u64,
}

impl Census {
    pub(super) fn new(view: Arc<View>) -> Self {
        let mut rows = 0;
        let mut starts = Vec::new();
        for segment in view.segments() {
            starts.push(rows);
            rows += segment.rows();
        }
        Self { view, starts, rows }
    }

    /// How many rows there are; their numbers are below it.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// The one row that stands for the chunk, and where it says that the chunk is.
    pub(crate) fn find(&self, digest: &Digest) -> Result<Option<(u64, Location)>> {
        let found = self.view.find(digest)?;
        Ok(found.map(|(segment, row, place)| (self.starts[segment] + row, place)))
    }

    /// Calls `each` with every row of a pack that is there, by number; fails when they do not match their checksums.
    pub(crate) fn each(&self, each: &mut dyn FnMut(u64, &Location) -> Result<()>) -> Result<()> {
        for (segment, start) in self.view.segments().iter().zip(&self.starts) {
            let mut rows = SegmentRows::new(segment);
            let mut number = *start;
            while let Some(row) = rows.next()? {
                if let Some(location) = segment.location(&row)? {
                    each(number, &location)?;
                }
                number += 1;
            }
        }
        Ok(())
    }

    /// The packs it has rows of or has merged; one may come twice.
    pub(crate) fn packs(&self) -> impl Iterator<Item = &PackId> {
        let segments = self.view.segments().iter();
        segments.flat_map(|segment| segment.live_packs())
    }
}
