//! The calls about the trash: what is in it, back from it, gone from it.

use std::{collections::BTreeSet, sync::Arc};

use snap_api::{
    ListRequest, Page, TrashCause as WireCause, TrashEmptied, TrashEmptyRequest, TrashView,
    UndeleteRequest, Undeleted, UndeletedView,
};
use snap_store::{SnapshotRecord, TrashCause, TrashRecord};

use super::{
    page::{self, PageBuilder},
    parse,
};
use crate::{blocking, clock, error::Result, host::Host, trash, views};

pub(super) async fn list(host: &Arc<Host>, request: &ListRequest) -> Result<Page<TrashView>> {
    parse::plain_list(request)?;
    let namespace = parse::optional_namespace(request.namespace.as_deref())?;
    let after = page::snapshot_cursor(request.cursor.as_deref())?;
    let limit = parse::page_limit(request.limit);
    let catalogue = Arc::clone(&host.catalogue);
    let found = blocking(move || catalogue.trash(namespace.as_ref(), after, limit)).await?;
    let mut page = PageBuilder::new(limit);
    for one in &found {
        if page.is_full() {
            break;
        }
        page.push(
            view(host, one),
            format!("{}-{}", one.goes_at, one.snapshot.id),
        );
    }
    Ok(page.finish())
}

pub(super) async fn undelete(host: &Arc<Host>, request: &UndeleteRequest) -> Result<Undeleted> {
    let found = resolve_all(host, &request.namespace, &request.references).await?;
    let ids = found.iter().map(|one| one.snapshot.id).collect();
    let back = trash::undelete(host, ids).await?;
    let view = |one: &snap_store::Undeleted| UndeletedView {
        snapshot: views::snapshot_of(host, &one.snapshot),
        lost: one.lost.iter().map(ToString::to_string).collect(),
        ttl_renewed: one.is_ttl_renewed,
    };
    Ok(Undeleted {
        snapshots: back.iter().map(view).collect(),
    })
}

/// What is named goes, or nothing does; without names everything goes that nobody uses.
pub(super) async fn empty(host: &Arc<Host>, request: &TrashEmptyRequest) -> Result<TrashEmptied> {
    let found = match request.references.is_empty() {
        true => trash::all(host, &parse::namespace(&request.namespace)?).await?,
        false => resolve_all(host, &request.namespace, &request.references).await?,
    };
    let (used, mut free): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|one| one.snapshot.is_used && request.references.is_empty());
    let ids: Vec<_> = free.iter().map(|one| one.snapshot.id).collect();
    trash::let_go(host, &ids, None).await?;
    let texts = |all: &[TrashRecord]| all.iter().map(|one| one.snapshot.id.to_string()).collect();
    free.sort_unstable_by_key(|one| one.snapshot.id);
    Ok(TrashEmptied {
        ids: texts(&free),
        stored_bytes: free.iter().map(|one| one.snapshot.stored_bytes).sum(),
        in_use: texts(&used),
    })
}

/// The snapshot in the trash that a client means.
pub(super) async fn resolve(
    host: &Arc<Host>,
    namespace: &str,
    reference: &str,
) -> Result<SnapshotRecord> {
    let found = resolve_all(host, namespace, &[reference.to_owned()]).await?;
    let first = found.into_iter().next();
    Ok(first.expect("one reference is one record").snapshot)
}

/// What is meant, each once.
async fn resolve_all(
    host: &Arc<Host>,
    namespace: &str,
    references: &[String],
) -> Result<Vec<TrashRecord>> {
    let namespace = parse::namespace(namespace)?;
    let references = parse::references(references)?;
    let catalogue = Arc::clone(&host.catalogue);
    blocking(move || {
        let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
        for reference in &references {
            let one = catalogue.resolve_trashed(&namespace, reference)?;
            if seen.insert(one.snapshot.id) {
                found.push(one);
            }
        }
        Ok::<_, snap_store::Error>(found)
    })
    .await
}

fn view(host: &Host, record: &TrashRecord) -> TrashView {
    TrashView {
        snapshot: views::snapshot_of(host, &record.snapshot),
        cause: match record.cause {
            TrashCause::Remove => WireCause::Remove,
            TrashCause::Forget => WireCause::Forget,
            TrashCause::Expire => WireCause::Expire,
        },
        trashed_at: clock::rfc3339(record.trashed_at),
        goes_at: clock::rfc3339(record.goes_at),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{error::Error, fixture, removal};

    fn request(references: &[&str]) -> TrashEmptyRequest {
        TrashEmptyRequest {
            namespace: "default".to_owned(),
            references: references.iter().map(|text| (*text).to_owned()).collect(),
        }
    }

    /// A host with `a` to `c` in the trash.
    async fn host() -> (Arc<Host>, tempfile::TempDir) {
        let (host, folder) = fixture::host(|config| config.trash_grace = Duration::from_secs(60));
        let ids = ["a", "b", "c"].map(|name| fixture::snapshot(&host, name, None));
        removal::remove(&host, &ids).await.unwrap();
        (host, folder)
    }

    async fn listed(host: &Arc<Host>) -> Vec<String> {
        let (mut names, mut cursor) = (Vec::new(), None);
        loop {
            let request = ListRequest {
                limit: 2,
                cursor,
                ..ListRequest::default()
            };
            let page = list(host, &request).await.unwrap();
            names.extend(page.items.iter().map(|one| one.snapshot.names[0].clone()));
            cursor = page.next;
            if cursor.is_none() {
                names.sort_unstable();
                return names;
            }
        }
    }

    #[tokio::test]
    async fn the_trash_is_listed_taken_from_and_emptied() {
        let (host, _folder) = host().await;
        assert_eq!(listed(&host).await, ["a:latest", "b:latest", "c:latest"]);
        let back = UndeleteRequest {
            namespace: "default".to_owned(),
            references: vec!["b".to_owned(), "b:1".to_owned()],
        };
        let back = undelete(&host, &back).await.unwrap().snapshots;
        assert_eq!(back.len(), 1);
        assert_eq!(back[0].snapshot.names, ["b:latest"]);
        let one = empty(&host, &request(&["a"])).await.unwrap();
        assert_eq!((one.ids.len(), one.in_use.len()), (1, 0));
        assert_eq!(listed(&host).await, ["c:latest"]);
        assert_eq!(empty(&host, &request(&[])).await.unwrap().ids.len(), 1);
        assert!(empty(&host, &request(&[])).await.unwrap().ids.is_empty());
        assert_eq!(host.store.manifests().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn what_is_asked_wrongly_changes_nothing() {
        let (host, _folder) = host().await;
        for wrong in [&["a", "z"][..], &["Not A Reference"], &["a:v9"]] {
            let refused = empty(&host, &request(wrong)).await.unwrap_err();
            assert!(matches!(refused, Error::Store(_) | Error::Report(_)));
            let references = wrong.iter().map(|text| (*text).to_owned()).collect();
            let namespace = "default".to_owned();
            let back = UndeleteRequest {
                namespace,
                references,
            };
            assert!(undelete(&host, &back).await.is_err());
        }
        let cursor = Some("x".to_owned());
        let wrong = ListRequest {
            cursor,
            ..ListRequest::default()
        };
        assert!(list(&host, &wrong).await.is_err());
        assert_eq!(listed(&host).await.len(), 3);
    }
}
