//! What holds for containers that end, and what is known of their ends, as clients see it.

use std::{collections::BTreeMap, sync::Arc};

use snap_api::TriggerView;
use snap_store::{Namespace, TriggerRecord};

use super::{Key, policies::Wish};
use crate::{blocking, clock, error::Result, host::Host};

/// What holds for the containers there are, and what is known of their ends.
///
/// # Errors
/// When containerd is silent.
pub(crate) async fn views(
    host: &Arc<Host>,
    namespace: Option<&Namespace>,
) -> Result<Vec<TriggerView>> {
    let policies = host.triggers.policies();
    let (catalogue, of) = (Arc::clone(&host.catalogue), namespace.cloned());
    let known = blocking(move || catalogue.triggers(of.as_ref())).await?;
    let mut known: BTreeMap<_, _> = known
        .into_iter()
        .map(|one| ((one.namespace.clone(), one.container.clone()), one))
        .collect();
    let mut views = BTreeMap::new();
    for (key, labels) in host.containerd.labels().await? {
        if namespace.is_some_and(|namespace| *namespace != key.0) {
            continue;
        }
        let wish = policies.of(&key.0, &key.1, &labels);
        let record = known.remove(&key);
        if !matches!(wish, Ok(None)) || record.is_some() {
            views.insert(key.clone(), view(&key, wish, record.as_ref()));
        }
    }
    // Containers that are gone, until the next look forgets them.
    for (key, record) in known {
        views.insert(key.clone(), view(&key, Ok(None), Some(&record)));
    }
    Ok(views.into_values().collect())
}

fn view(
    (namespace, container): &Key,
    wish: Result<Option<Wish>, String>,
    record: Option<&TriggerRecord>,
) -> TriggerView {
    let (wish, problem) = match wish {
        Ok(wish) => (wish, None),
        Err(why) => (None, Some(why)),
    };
    let last = record.and_then(|record| record.last.as_ref());
    let result = last.map(|last| last.result.as_ref());
    let words = |wish: &Wish| {
        wish.on
            .iter()
            .map(|cause| cause.as_str().to_owned())
            .collect()
    };
    TriggerView {
        namespace: namespace.to_string(),
        container: container.clone(),
        on: wish.as_ref().map(words).unwrap_or_default(),
        name: wish.as_ref().map(|wish| wish.name.name().to_owned()),
        from: wish.map(|wish| wish.from),
        problem,
        cause: record.map(|record| record.cause.as_str().to_owned()),
        ended_at: record.map(|record| clock::rfc3339(record.ended_ms.div_euclid(1000))),
        due_at: record.and_then(|record| record.due_at).map(clock::rfc3339),
        quiet_until: record.map(|record| clock::rfc3339(record.quiet_until)),
        held_back: record.map_or(0, |record| record.held_back),
        last_at: last.map(|last| clock::rfc3339(last.at)),
        last_snapshot: result.and_then(Result::ok).map(ToString::to_string),
        failure: result.and_then(Result::err).cloned(),
        failures: record.map_or(0, |record| record.failures),
    }
}
