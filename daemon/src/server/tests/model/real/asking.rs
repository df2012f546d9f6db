//! Requests and listings as they come from a client; listings page by page.

use serde::Serialize;
use serde_json::Value;
use snap_api::{ListRequest, Page};

use super::{super::calls::Call, ROOT, Real};
use crate::{
    error::Result,
    server::{autos, changes, listing, naming, policies, retention, trash},
};

impl Real {
    pub(super) async fn asked(&self, call: &Call) -> Result<Value> {
        let host = self.host();
        match call {
            Call::Remove(request) => answer(changes::remove(host, request).await?),
            Call::Ttl(request) => answer(changes::set_ttl(host, request).await?),
            Call::Label(request) => answer(changes::set_labels(host, request.clone()).await?),
            Call::Tag(request) => answer(naming::set_name(host, request).await?),
            Call::Pin(request) => answer(naming::set_pin(host, request).await?),
            Call::Rollback(request) => answer(naming::rollback(host, request).await?),
            Call::PolicySet(request) => answer(policies::set(host, request).await?),
            Call::PolicyRemove(request) => answer(policies::remove(host, request).await?),
            Call::Undelete(request) => answer(trash::undelete(host, request).await?),
            Call::TrashEmpty(request) => answer(trash::empty(host, request).await?),
            Call::AutoSet(request) => answer(autos::set(host, ROOT, request.clone()).await?),
            Call::AutoRemove(request) => answer(autos::remove(host, request).await?),
            Call::Moves(request) => answer(naming::moves(host, request).await?.moves),
            _ => self.listed(call).await,
        }
    }

    async fn listed(&self, call: &Call) -> Result<Value> {
        let host = self.host();
        let of_list = |request: &mut ListRequest, cursor| request.cursor = cursor;
        match call {
            Call::List(request) => {
                pages(request.clone(), of_list, async |request| {
                    listing::snapshots(host, request).await
                })
                .await
            }
            Call::TrashList(request) => {
                pages(request.clone(), of_list, async |request| {
                    trash::list(host, request).await
                })
                .await
            }
            Call::AutoList(request) => {
                pages(request.clone(), of_list, async |request| {
                    autos::list(host, request).await
                })
                .await
            }
            Call::PolicyList(request) => {
                let go_on = |request: &mut snap_api::PolicyListRequest, at| request.cursor = at;
                pages(request.clone(), go_on, async |request| {
                    policies::list(host, request).await
                })
                .await
            }
            Call::History(request) => {
                let go_on = |request: &mut snap_api::HistoryRequest, at| request.cursor = at;
                pages(request.clone(), go_on, async |request| {
                    naming::history(host, request).await
                })
                .await
            }
            Call::Forget(request) => {
                let go_on = |request: &mut snap_api::ForgetRequest, at| request.cursor = at;
                pages(request.clone(), go_on, async |request| {
                    retention::forget(host, request).await
                })
                .await
            }
            _ => panic!("{call:?} is no listing"),
        }
    }
}

/// All pages, one behind the other.
async fn pages<R, T: Serialize>(
    mut request: R,
    go_on: impl Fn(&mut R, Option<String>),
    ask: impl AsyncFn(&R) -> Result<Page<T>>,
) -> Result<Value> {
    let mut all = Vec::new();
    loop {
        let page = ask(&request).await?;
        all.extend(page.items);
        match page.next {
            None => return answer(all),
            next => go_on(&mut request, next),
        }
    }
}

fn answer(answer: impl Serialize) -> Result<Value> {
    Ok(serde_json::to_value(answer).unwrap())
}
