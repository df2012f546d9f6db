//! The listing of snapshots: filtered before it is cut into pages, so that a page is of what was asked for.
//!
//! The newest come first, straight from the catalogue. Any other order takes everything that passes the filters, sorts it, and goes on
//! behind the one where the page before ended.

use std::sync::Arc;

use snap_api::{ListRequest, Page, SnapshotView};
use snap_store::{Catalogue, Namespace, STEP_LABEL, SnapshotId, SnapshotRecord, VOLUME_LABEL};

use super::{
    filter::Filters,
    page::{self, PageBuilder},
    parse,
};
use crate::{blocking, clock, error::Result, host::Host, views};

/// Rows that are looked at in one transaction.
const BATCH: usize = 1000;
const ORDERS: &str = "created, name, size, stored or expires, with `:desc` for the other way round";

/// Which snapshots are looked through.
#[derive(Debug)]
struct Wanted {
    catalogue: Arc<Catalogue>,
    namespace: Option<Namespace>,
    filters: Filters,
    now: i64,
    limit: usize,
}

/// An order other than the newest first.
#[derive(Clone, Copy, Debug)]
struct Order {
    by: By,
    is_descending: bool,
}

#[derive(Clone, Copy, Debug)]
enum By {
    Created,
    Name,
    Size,
    Stored,
    Expires,
}

/// Where a snapshot stands in an order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    number: i64,
    text: String,
    id: SnapshotId,
}

pub(super) async fn snapshots(host: &Host, request: &ListRequest) -> Result<Page<SnapshotView>> {
    let wanted = Wanted {
        catalogue: Arc::clone(&host.catalogue),
        namespace: parse::optional_namespace(request.namespace.as_deref())?,
        filters: Filters::parse(&request.filters)?,
        now: clock::now(),
        limit: parse::page_limit(request.limit),
    };
    let (order, cursor) = (order(request.sort.as_deref())?, request.cursor.as_deref());
    let mut page = PageBuilder::new(wanted.limit);
    let found: Vec<(SnapshotRecord, String)> = match order {
        None => {
            let after = page::snapshot_cursor(cursor)?;
            blocking(move || wanted.newest(after)).await?
        }
        Some(order) => {
            let after = cursor.map(Place::of_cursor).transpose()?;
            blocking(move || wanted.sorted(order, after.as_ref())).await?
        }
    };
    for (record, cursor) in found {
        if page.is_full() {
            break;
        }
        page.push(views::snapshot_of(host, &record), cursor);
    }
    Ok(page.finish())
}

impl Wanted {
    /// What passes. Results of steps of templates and versions of volumes are shown to whoever asks for their label alone.
    fn shows(&self, record: &SnapshotRecord) -> bool {
        let hides = |label| record.labels.contains_key(label) && !self.filters.ask_for(label);
        let is_hidden = hides(STEP_LABEL) || hides(VOLUME_LABEL);
        !is_hidden && self.filters.pass(record, self.now)
    }

    /// The newest that pass, behind `after`, each with its cursor.
    fn newest(
        &self,
        mut after: Option<(i64, SnapshotId)>,
    ) -> snap_store::Result<Vec<(SnapshotRecord, String)>> {
        let mut found = Vec::new();
        while found.len() < self.limit {
            let batch = self.catalogue.list(self.namespace.as_ref(), after, BATCH)?;
            let Some(last) = batch.last() else {
                break;
            };
            after = Some((last.created_at, last.id));
            for record in batch {
                if found.len() < self.limit && self.shows(&record) {
                    let cursor = format!("{}-{}", record.created_at, record.id);
                    found.push((record, cursor));
                }
            }
        }
        Ok(found)
    }

    /// Those that pass in another order, behind `after`, each with its cursor.
    fn sorted(
        &self,
        order: Order,
        after: Option<&Place>,
    ) -> snap_store::Result<Vec<(SnapshotRecord, String)>> {
        let mut all = Vec::new();
        let mut last = None;
        loop {
            let batch = self.catalogue.list(self.namespace.as_ref(), last, BATCH)?;
            let Some(end) = batch.last() else {
                break;
            };
            last = Some((end.created_at, end.id));
            let passing = batch.into_iter().filter(|record| self.shows(record));
            all.extend(passing.map(|record| (order.place(&record), record)));
        }
        all.sort_unstable_by(|(one, _), (other, _)| order.compare(one, other));
        let is_behind =
            |place: &Place| after.is_none_or(|after| order.compare(place, after).is_gt());
        let rest = all.into_iter().filter(|(place, _)| is_behind(place));
        let page = rest.take(self.limit);
        Ok(page
            .map(|(place, record)| (record, place.cursor()))
            .collect())
    }
}

impl Order {
    fn place(self, record: &SnapshotRecord) -> Place {
        let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let (number, text) = match self.by {
            By::Created => (record.created_at, String::new()),
            By::Size => (bytes(record.logical_bytes), String::new()),
            By::Stored => (bytes(record.stored_bytes), String::new()),
            By::Expires => {
                let expiry = record.expiry().filter(|_| !record.is_pinned);
                (expiry.map_or(i64::MAX, |(at, _)| at), String::new())
            }
            // What has no name stands behind what has one.
            By::Name => match record.names.iter().chain(&record.versions).next() {
                Some(name) => (0, name.to_string()),
                None => (1, String::new()),
            },
        };
        Place {
            number,
            text,
            id: record.id,
        }
    }

    fn compare(self, one: &Place, other: &Place) -> std::cmp::Ordering {
        match self.is_descending {
            true => other.cmp(one),
            false => one.cmp(other),
        }
    }
}

impl Place {
    fn cursor(&self) -> String {
        format!("{} {} {}", self.number, self.id, self.text)
    }

    fn of_cursor(cursor: &str) -> Result<Self> {
        let parse = || {
            let (number, rest) = cursor.split_once(' ')?;
            let (id, text) = rest.split_once(' ')?;
            Some(Self {
                number: number.parse().ok()?,
                text: text.to_owned(),
                id: id.parse().ok()?,
            })
        };
        parse().ok_or_else(page::invalid)
    }
}

fn order(text: Option<&str>) -> Result<Option<Order>> {
    let Some(text) = text else {
        return Ok(None);
    };
    let (by, is_descending) = match text.strip_suffix(":desc") {
        Some(by) => (by, true),
        None => (text, false),
    };
    let by = match by {
        "created" => By::Created,
        "name" => By::Name,
        "size" => By::Size,
        "stored" => By::Stored,
        "expires" => By::Expires,
        _ => {
            let shown: String = text.chars().take(80).collect();
            let message = format!("`{shown}` is no order; there are {ORDERS}");
            return Err(parse::usage("invalid-order", message));
        }
    };
    Ok(Some(Order { by, is_descending }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    async fn page(
        host: &Host,
        sort: Option<&str>,
        filters: &[&str],
        cursor: Option<String>,
    ) -> Page<SnapshotView> {
        let request = ListRequest {
            sort: sort.map(str::to_owned),
            filters: filters.iter().map(|filter| (*filter).to_owned()).collect(),
            cursor,
            limit: 2,
            ..ListRequest::default()
        };
        snapshots(host, &request).await.unwrap()
    }

    /// The names of all, page after page.
    async fn listed(host: &Host, sort: Option<&str>, filters: &[&str]) -> Vec<String> {
        let (mut names, mut cursor) = (Vec::new(), None);
        loop {
            let page = page(host, sort, filters, cursor).await;
            assert!(page.next.is_none() || page.items.len() == 2);
            let tags = page.items.iter().map(|one| one.names.last().unwrap());
            names.extend(tags.map(|name| name.replace(":latest", "")));
            cursor = page.next;
            if cursor.is_none() {
                return names;
            }
        }
    }

    #[tokio::test]
    async fn pages_are_of_what_passes_the_filters_in_every_order() {
        let (host, _folder) = fixture::host(|_| {});
        for (name, expires_at) in [
            ("b", Some(3000)),
            ("x1", None),
            ("c", Some(1000)),
            ("x2", None),
            ("a", None),
        ] {
            let id = fixture::snapshot(&host, name, expires_at);
            let labels = std::collections::BTreeMap::from([("x".to_owned(), name.to_owned())]);
            if !name.starts_with('x') {
                host.catalogue.set_labels(&id, &labels, &[]).unwrap();
            }
        }
        assert_eq!(
            listed(&host, Some("name"), &["label=x"]).await,
            ["a", "b", "c"]
        );
        let mut newest = listed(&host, None, &["label=x"]).await;
        newest.sort_unstable();
        assert_eq!(newest, ["a", "b", "c"]);
        let descending = listed(&host, Some("name:desc"), &[]).await;
        assert_eq!(descending, ["x2", "x1", "c", "b", "a"]);
        assert_eq!(
            listed(&host, Some("expires"), &["label=x"]).await,
            ["c", "b", "a"]
        );
        assert_eq!(listed(&host, Some("size"), &[]).await.len(), 5);
        assert_eq!(
            listed(&host, Some("created:desc"), &["name=x*"])
                .await
                .len(),
            2
        );
        assert!(listed(&host, Some("stored"), &["size>1G"]).await.is_empty());
    }

    #[tokio::test]
    async fn an_order_goes_on_though_the_one_it_ended_with_is_gone() {
        let (host, _folder) = fixture::host(|_| {});
        let ids = ["a", "b", "c"].map(|name| fixture::snapshot(&host, name, None));
        let first = page(&host, Some("name"), &[], None).await;
        host.catalogue
            .begin_removal(&ids[1..2], snap_store::Force::No, 0)
            .unwrap();
        host.catalogue.finish_removal(&ids[1]).unwrap();
        let rest = page(&host, Some("name"), &[], first.next).await;
        assert_eq!(rest.items.len(), 1);
        assert_eq!(rest.items[0].names, ["c:latest"]);
    }

    #[test]
    fn orders_and_their_cursors_are_checked() {
        assert!(order(None).unwrap().is_none());
        for bad in ["", "date", "name:asc", "desc", ":desc", "name:desc:desc"] {
            assert!(order(Some(bad)).is_err(), "{bad}");
        }
        let place = Place {
            number: -5,
            text: "a b:c".to_owned(),
            id: SnapshotId::random(),
        };
        assert_eq!(Place::of_cursor(&place.cursor()).unwrap(), place);
        for bad in ["", "5", "5 x y", "x 00 y"] {
            assert!(Place::of_cursor(bad).is_err(), "{bad}");
        }
    }
}
