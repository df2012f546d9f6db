//! Forgetting the versions of names that no rule keeps.

use std::sync::Arc;

use snap_api::{
    ForgetRequest, ForgetVerdict as WireVerdict, ForgetView, HeldBy, HoldKind,
    KeepRule as WireRule, KeepRules as WireRules, Page,
};
use snap_store::{
    Attachment, KeepRule, KeepRules, Namespace, Obstacle, SnapshotName, Thinning, TrashCause,
    Verdict,
};

use super::{
    page::{self, PageBuilder},
    parse,
};
use crate::{blocking, clock, config::Config, error::Result, host::Host, retention, trash};

/// Names of one request.
const MAX_NAMES: usize = 1000;

/// Where a page goes on: behind this version of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    name: SnapshotName,
    number: u64,
}

pub(super) async fn forget(host: &Arc<Host>, request: &ForgetRequest) -> Result<Page<ForgetView>> {
    let namespace = parse::namespace(&request.namespace)?;
    let rules = rules(&request.keep)?;
    let after = request.cursor.as_deref().map(Place::of).transpose()?;
    let limit = parse::page_limit(request.limit);
    let mut names = names(host, &namespace, request).await?;
    let is_begun = |after: &Place, name: &SnapshotName| *name >= after.name;
    names.retain(|name| after.as_ref().is_none_or(|after| is_begun(after, name)));
    let mut page = PageBuilder::new(limit);
    for name in names {
        let before = after.as_ref().filter(|after| after.name == name);
        let thinning = Thinning {
            namespace: namespace.clone(),
            name: name.clone(),
            rules,
            now: clock::now(),
            stay: trash::stay(&host.config, TrashCause::Forget),
        };
        let mut judged = retention::judge(host, &thinning).await?;
        judged.retain(|one| before.is_none_or(|before| one.number < before.number));
        judged.truncate(page.room());
        if !request.dry_run {
            judged = retention::thin_out(host, &thinning, &judged).await?;
        }
        for verdict in &judged {
            let cursor = format!("{} {}", name.name(), verdict.number);
            page.push(view(&name, verdict), cursor);
        }
        if page.is_full() {
            break;
        }
    }
    Ok(page.finish())
}

/// The names that are asked for, sorted and each once; all of them are known.
async fn names(
    host: &Arc<Host>,
    namespace: &Namespace,
    request: &ForgetRequest,
) -> Result<Vec<SnapshotName>> {
    let (catalogue, namespace) = (Arc::clone(&host.catalogue), namespace.clone());
    if request.all_names && request.names.is_empty() {
        return blocking(move || catalogue.names_with_versions(&namespace)).await;
    }
    if request.all_names || request.names.is_empty() || request.names.len() > MAX_NAMES {
        let message = format!("Give names, {MAX_NAMES} at most, or ask for all names");
        return Err(parse::usage("invalid-names", message));
    }
    let names = request.names.iter().map(|name| parse::bare_name(name));
    let mut names = names.collect::<Result<Vec<_>>>()?;
    names.sort_unstable();
    names.dedup();
    blocking(move || {
        for name in &names {
            catalogue.versions(&namespace, name, None, 1)?;
        }
        Ok::<_, snap_store::Error>(names)
    })
    .await
}

/// At least one rule, each within its bounds.
pub(super) fn rules(rules: &WireRules) -> Result<KeepRules> {
    let parsed = KeepRules {
        last: rules.last,
        hourly: rules.hourly,
        daily: rules.daily,
        weekly: rules.weekly,
        monthly: rules.monthly,
        yearly: rules.yearly,
        within_seconds: rules.within_seconds,
    };
    if parsed.is_empty() {
        let message = "No rule says what is kept, and without one everything would go";
        return Err(parse::usage("no-rule", message));
    }
    if parsed.within_seconds > Config::MAX_TTL_SECONDS {
        let message = format!("{} s is more than 100 years", parsed.within_seconds);
        return Err(parse::usage("invalid-rule", message));
    }
    Ok(parsed)
}

impl Place {
    fn of(cursor: &str) -> Result<Self> {
        let (name, number) = cursor.split_once(' ').ok_or_else(page::invalid)?;
        Ok(Self {
            name: parse::bare_name(name).map_err(|_| page::invalid())?,
            number: number.parse().map_err(|_| page::invalid())?,
        })
    }
}

fn view(name: &SnapshotName, verdict: &Verdict) -> ForgetView {
    let word = match (verdict.rules.is_empty(), verdict.obstacles.is_empty()) {
        (false, _) => WireVerdict::Keep,
        (true, false) => WireVerdict::Held,
        (true, true) => WireVerdict::Remove,
    };
    ForgetView {
        name: name.name().to_owned(),
        version: verdict.number,
        snapshot: verdict.snapshot.id.to_string(),
        created_at: clock::rfc3339(verdict.snapshot.created_at),
        verdict: word,
        kept_by: verdict.rules.iter().map(|rule| wire_rule(*rule)).collect(),
        held_by: verdict.obstacles.iter().map(held_by).collect(),
    }
}

fn wire_rule(rule: KeepRule) -> WireRule {
    match rule {
        KeepRule::Last => WireRule::Last,
        KeepRule::Hourly => WireRule::Hourly,
        KeepRule::Daily => WireRule::Daily,
        KeepRule::Weekly => WireRule::Weekly,
        KeepRule::Monthly => WireRule::Monthly,
        KeepRule::Yearly => WireRule::Yearly,
        KeepRule::Within => WireRule::Within,
    }
}

fn held_by(obstacle: &Obstacle) -> HeldBy {
    let (kind, name) = match obstacle {
        Obstacle::Pinned => (HoldKind::Pinned, None),
        Obstacle::Tag(tag) => (HoldKind::Tag, Some(tag.to_string())),
        Obstacle::Version(version) => (HoldKind::Version, Some(version.to_string())),
        Obstacle::User(Attachment::Container(namespace, id)) => {
            (HoldKind::Container, Some(format!("{namespace}/{id}")))
        }
        Obstacle::User(Attachment::Folder(path)) => {
            (HoldKind::Folder, Some(path.display().to_string()))
        }
        Obstacle::User(Attachment::Volume(namespace, name)) => {
            (HoldKind::Volume, Some(format!("{namespace}/{name}")))
        }
        Obstacle::State(state) => (HoldKind::State, Some(state.as_str().to_owned())),
        Obstacle::Changed => (HoldKind::Changed, None),
    };
    HeldBy { kind, name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::Error, fixture};

    fn request(names: &[&str], last: u32) -> ForgetRequest {
        ForgetRequest {
            namespace: "default".to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            all_names: names.is_empty(),
            keep: WireRules {
                last,
                ..WireRules::default()
            },
            dry_run: false,
            cursor: None,
            limit: 0,
        }
    }

    /// What is removed, page after page of two.
    async fn removed(host: &Arc<Host>, mut request: ForgetRequest) -> Vec<String> {
        let mut all = Vec::new();
        request.limit = 2;
        loop {
            let page = forget(host, &request).await.unwrap();
            let removed = page
                .items
                .iter()
                .filter(|one| one.verdict == WireVerdict::Remove);
            all.extend(removed.map(|one| format!("{}:{}", one.name, one.version)));
            request.cursor = page.next;
            if request.cursor.is_none() {
                return all;
            }
        }
    }

    #[tokio::test]
    async fn names_are_thinned_out_page_by_page() {
        let (host, _folder) = fixture::host(|_| {});
        for name in ["b", "a", "c"] {
            for _ in 0..5 {
                fixture::snapshot(&host, name, None);
            }
        }
        let dry = ForgetRequest {
            dry_run: true,
            ..request(&[], 2)
        };
        let expected: Vec<String> = ["a", "b", "c"]
            .iter()
            .flat_map(|name| [3, 2, 1].map(|number| format!("{name}:{number}")))
            .collect();
        assert_eq!(removed(&host, dry).await, expected);
        assert_eq!(host.store.manifests().unwrap().len(), 15);
        assert_eq!(
            removed(&host, request(&["b", "b"], 2)).await,
            expected[3..6]
        );
        assert_eq!(removed(&host, request(&[], 2)).await.len(), 6);
        assert_eq!(host.store.manifests().unwrap().len(), 6);
        assert!(removed(&host, request(&[], 2)).await.is_empty());
    }

    #[tokio::test]
    async fn what_is_asked_wrongly_changes_nothing() {
        let (host, _folder) = fixture::host(|_| {});
        for _ in 0..3 {
            fixture::snapshot(&host, "a", None);
        }
        let too_long = WireRules {
            within_seconds: u64::MAX,
            ..WireRules::default()
        };
        for wrong in [
            request(&[], 0),
            request(&["a:v1"], 1),
            ForgetRequest {
                all_names: true,
                ..request(&["a"], 1)
            },
            ForgetRequest {
                all_names: false,
                ..request(&[], 1)
            },
            ForgetRequest {
                keep: too_long,
                ..request(&["a"], 1)
            },
            ForgetRequest {
                cursor: Some("a".to_owned()),
                ..request(&["a"], 1)
            },
            request(&["a", "unknown"], 1),
        ] {
            let refused = forget(&host, &wrong).await.unwrap_err();
            let is_told = matches!(refused, Error::Store(_) | Error::Report(_));
            assert!(is_told, "{refused:?}");
        }
        assert_eq!(host.store.manifests().unwrap().len(), 3);
    }
}
