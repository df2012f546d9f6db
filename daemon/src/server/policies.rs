//! Policies: what is kept of the versions of a name by itself.

use std::sync::Arc;

use snap_api::{
    KeepRules as WireRules, Page, PolicyListRequest, PolicyRequest, PolicySetRequest, PolicyView,
};
use snap_store::{KeepRules, PolicyRecord};

use super::{
    page::{self, PageBuilder},
    parse,
    retention::rules,
};
use crate::{blocking, clock, error::Result, events::Event, host::Host};

/// Policies of one namespace.
const MAX_POLICIES: u64 = 10_000;

pub(super) async fn set(host: &Arc<Host>, request: &PolicySetRequest) -> Result<PolicyView> {
    let namespace = parse::namespace(&request.namespace)?;
    let (name, rules) = (parse::bare_name(&request.name)?, rules(&request.keep)?);
    let catalogue = Arc::clone(&host.catalogue);
    let set = move || {
        catalogue.set_policy(&namespace, &name, &rules, MAX_POLICIES)?;
        catalogue.policy(&namespace, &name)
    };
    let policy = blocking(set).await?;
    tell(host, "policy-set", &policy);
    Ok(view(&policy))
}

pub(super) async fn list(
    host: &Arc<Host>,
    request: &PolicyListRequest,
) -> Result<Page<PolicyView>> {
    let namespace = parse::optional_namespace(request.namespace.as_deref())?;
    let name = request.name.as_deref().map(parse::bare_name).transpose()?;
    let catalogue = Arc::clone(&host.catalogue);
    let one = name.clone().zip(namespace.clone());
    let mut found = blocking(move || match one {
        Some((name, namespace)) => Ok(vec![catalogue.policy(&namespace, &name)?]),
        None => catalogue.policies(namespace.as_ref()),
    })
    .await?;
    found.retain(|policy| name.as_ref().is_none_or(|name| policy.name == *name));
    if let Some(cursor) = &request.cursor {
        let (namespace, name) = cursor.split_once(' ').ok_or_else(page::invalid)?;
        found.retain(|policy| (policy.namespace.as_str(), policy.name.name()) > (namespace, name));
    }
    let mut page = PageBuilder::new(parse::page_limit(request.limit));
    for policy in &found {
        if page.is_full() {
            break;
        }
        let cursor = format!("{} {}", policy.namespace, policy.name.name());
        page.push(view(policy), cursor);
    }
    Ok(page.finish())
}

pub(super) async fn remove(host: &Arc<Host>, request: &PolicyRequest) -> Result<PolicyView> {
    let namespace = parse::namespace(&request.namespace)?;
    let name = parse::bare_name(&request.name)?;
    let catalogue = Arc::clone(&host.catalogue);
    let removed = blocking(move || catalogue.remove_policy(&namespace, &name)).await?;
    tell(host, "policy-remove", &removed);
    Ok(view(&removed))
}

fn tell(host: &Host, action: &'static str, policy: &PolicyRecord) {
    let event = Event::new(action, policy.name.name());
    host.events.tell(event.of(&policy.namespace));
}

fn view(policy: &PolicyRecord) -> PolicyView {
    PolicyView {
        namespace: policy.namespace.to_string(),
        name: policy.name.name().to_owned(),
        keep: wire_rules(&policy.rules),
        rests_until: Some(policy.rests_until)
            .filter(|until| *until > clock::now())
            .map(clock::rfc3339),
    }
}

fn wire_rules(rules: &KeepRules) -> WireRules {
    WireRules {
        last: rules.last,
        hourly: rules.hourly,
        daily: rules.daily,
        weekly: rules.weekly,
        monthly: rules.monthly,
        yearly: rules.yearly,
        within_seconds: rules.within_seconds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[tokio::test]
    async fn policies_come_in_pages_by_namespace_and_name() {
        let (host, _folder) = fixture::host(|_| {});
        let keep = WireRules {
            last: 3,
            within_seconds: 60,
            ..WireRules::default()
        };
        for (namespace, name) in [("b", "x"), ("a", "y"), ("a", "x")] {
            let request = PolicySetRequest {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                keep,
            };
            let view = set(&host, &request).await.unwrap();
            assert_eq!((view.keep, view.rests_until), (keep, None));
        }
        let mut request = PolicyListRequest {
            namespace: None,
            name: None,
            cursor: None,
            limit: 2,
        };
        let first = list(&host, &request).await.unwrap();
        request.cursor = first.next;
        let second = list(&host, &request).await.unwrap();
        assert_eq!(second.next, None);
        let all = first.items.iter().chain(&second.items);
        let told: Vec<_> = all.map(|one| (&*one.namespace, &*one.name)).collect();
        assert_eq!(told, [("a", "x"), ("a", "y"), ("b", "x")]);
    }
}
