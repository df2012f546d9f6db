//! Pages of listings: so many items and so many bytes at most, and a cursor where the next one starts.

use serde::Serialize;
use snap_api::{ErrorCode, ErrorReport, Page};
use snap_store::SnapshotId;

use crate::error::{Error, Result};

/// JSON of one page: far enough below the largest frame that one more item, however large, still fits.
const PAGE_BYTES: usize = 1 << 20;

/// A page being filled.
#[derive(Debug)]
pub(super) struct PageBuilder<T> {
    items: Vec<T>,
    limit: usize,
    bytes: usize,
    cursor: Option<String>,
}

impl<T: Serialize> PageBuilder<T> {
    /// An empty page of `limit` items at most.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            items: Vec::new(),
            limit,
            bytes: 0,
            cursor: None,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.items.len() >= self.limit || self.bytes >= PAGE_BYTES
    }

    /// How many more items there may be.
    pub(super) fn room(&self) -> usize {
        self.limit.saturating_sub(self.items.len())
    }

    /// Adds an item; `cursor` is where to go on after it.
    pub(super) fn push(&mut self, item: T, cursor: String) {
        self.bytes += serde_json::to_vec(&item).map_or(0, |json| json.len());
        self.items.push(item);
        self.cursor = Some(cursor);
    }

    /// The page; with a cursor when there may be more.
    pub(super) fn finish(self) -> Page<T> {
        let next = self.cursor.clone().filter(|_| self.is_full());
        Page {
            items: self.items,
            next,
        }
    }
}

/// Where a page of snapshots ended: the creation time and the id of its last one.
pub(super) fn snapshot_cursor(cursor: Option<&str>) -> Result<Option<(i64, SnapshotId)>> {
    let parse = |text: &str| {
        let (seconds, id) = text.rsplit_once('-')?;
        Some((seconds.parse().ok()?, id.parse().ok()?))
    };
    cursor
        .map(|text| parse(text).ok_or_else(invalid))
        .transpose()
}

/// Where a page of numbered things ended.
pub(super) fn number_cursor(cursor: Option<&str>) -> Result<Option<u64>> {
    cursor
        .map(|text| text.parse().map_err(|_| invalid()))
        .transpose()
}

/// A cursor that no page has given.
pub(super) fn invalid() -> Error {
    let message = "The cursor is not one that a page of this listing has given";
    ErrorReport::new(ErrorCode::Usage, "invalid-cursor", message).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_at_its_limit_of_items_or_of_bytes() {
        let mut page = PageBuilder::new(2);
        page.push("a", "1".to_owned());
        assert!(!page.is_full());
        page.push("b", "2".to_owned());
        assert!(page.is_full());
        assert_eq!(page.finish().next.unwrap(), "2");
        let mut page = PageBuilder::new(1000);
        page.push("x".repeat(PAGE_BYTES), "7".to_owned());
        assert!(page.is_full());
        assert_eq!(page.finish().next.unwrap(), "7");
    }

    #[test]
    fn the_last_page_has_no_cursor() {
        let mut page = PageBuilder::new(2);
        page.push("a", "1".to_owned());
        assert_eq!(page.finish().next, None);
    }

    #[test]
    fn cursors_round_trip_and_nothing_else_is_taken() {
        let id = SnapshotId::random();
        for seconds in [0, -5, i64::MIN, i64::MAX] {
            let text = format!("{seconds}-{id}");
            assert_eq!(snapshot_cursor(Some(&text)).unwrap(), Some((seconds, id)));
        }
        for bad in [
            "",
            "-",
            "5",
            "5-",
            "x-0",
            &format!("{id}"),
            &format!("1-{id}0"),
        ] {
            assert!(snapshot_cursor(Some(bad)).is_err(), "{bad}");
        }
        assert!(number_cursor(Some("-1")).is_err());
        assert_eq!(number_cursor(None).unwrap(), None);
    }
}
