//! What is registered: templates, their versions, and the results of their steps.

use std::{collections::BTreeMap, sync::Arc};

use snap_api::{Created, Template, TemplateView};
use snap_store::{
    Catalogue, Error as StoreError, Force, KeepRules, Namespace, Reference, STEP_LABEL,
    SnapshotName, SnapshotRecord, SnapshotState, TEMPLATE_LABEL, TemplateRecord,
};
use tracing::{debug, info, warn};

use super::{BuildPlan, recipe::Recipe, usable};
use crate::{
    blocking, clock,
    error::{Result, in_full},
    events::Event,
    host::Host,
    removal, retention, views,
};

/// Templates of one namespace, and policies.
const MAX_TEMPLATES: u64 = 10_000;
/// Results of steps that are kept for a template beside those of its last build.
const SPARE_RESULTS: usize = 20;

/// What a template's name points to now.
async fn current(
    host: &Arc<Host>,
    namespace: &Namespace,
    name: &SnapshotName,
) -> Result<Option<SnapshotRecord>> {
    let (catalogue, namespace) = (Arc::clone(&host.catalogue), namespace.clone());
    let reference = Reference::Name(name.latest());
    let found = blocking(move || catalogue.resolve(&namespace, &reference)).await;
    match found {
        Ok(record) => Ok(Some(record)),
        Err(crate::Error::Store(StoreError::NotFound { .. } | StoreError::Naming(_))) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the last build made, when that was of the same and can be used, and so can what the name points to; with what is to be said.
pub(super) async fn unchanged(
    host: &Arc<Host>,
    plan: &BuildPlan,
    recipe: &Recipe,
) -> Result<Option<(SnapshotRecord, Vec<String>)>> {
    let (namespace, name) = (&plan.namespace, &plan.name);
    let Some(last) = registered(host, namespace, name).await? else {
        return Ok(None);
    };
    let (catalogue, id) = (Arc::clone(&host.catalogue), last.snapshot);
    let made = match blocking(move || catalogue.get(&id)).await {
        Ok(made) => made,
        Err(crate::Error::Store(StoreError::NotFound { .. })) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(now) = current(host, namespace, name).await? else {
        return Ok(None);
    };
    let is_usable = usable(host, &made).is_ok() && usable(host, &now).is_ok();
    if last.key != recipe.key || !is_usable {
        return Ok(None);
    }
    let elsewhere = (now.id != made.id).then(|| {
        let version = made.versions.first().map_or_else(|| made.id.to_string(), ToString::to_string);
        format!("{name} points to another version than {version}, which was built last; `snapctl rollback` and `tag` move it")
    });
    Ok(Some((made, elsewhere.into_iter().collect())))
}

async fn registered(
    host: &Arc<Host>,
    namespace: &Namespace,
    name: &SnapshotName,
) -> Result<Option<TemplateRecord>> {
    let (catalogue, key) = (
        Arc::clone(&host.catalogue),
        (namespace.clone(), name.clone()),
    );
    match blocking(move || catalogue.template(&key.0, &key.1)).await {
        Ok(found) => Ok(Some(found)),
        Err(crate::Error::Store(StoreError::NotFound { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Stores as a policy how many versions the template keeps, unless somebody has stored another kind of rules for its name.
pub(super) async fn keep_versions(host: &Arc<Host>, plan: &BuildPlan) -> Result<()> {
    let rules = KeepRules {
        last: plan.template.keep,
        ..KeepRules::default()
    };
    let (catalogue, key) = (
        Arc::clone(&host.catalogue),
        (plan.namespace.clone(), plan.name.clone()),
    );
    let keeping = move || {
        let (namespace, name) = &key;
        match catalogue.policy(namespace, name) {
            Err(StoreError::NotFound { .. }) => {}
            Ok(found)
                if found.rules
                    == (KeepRules {
                        last: found.rules.last,
                        ..KeepRules::default()
                    }) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error),
        }
        catalogue.set_policy(namespace, name, &rules, MAX_TEMPLATES)
    };
    blocking(keeping).await
}

/// Registers what was built. Versions beyond those that are kept lose the tag they were made with, so that they can go; returns those that did.
pub(super) async fn register(
    host: &Arc<Host>,
    plan: &BuildPlan,
    recipe: &Recipe,
    made: &Created,
) -> Result<Vec<String>> {
    let record = TemplateRecord {
        namespace: plan.namespace.clone(),
        name: plan.name.clone(),
        definition: serde_json::to_string(&plan.template).expect("templates are always JSON"),
        key: recipe.key.clone(),
        snapshot: made.snapshot.id.parse()?,
        built_at: clock::now(),
    };
    let registering_host = Arc::clone(host);
    let keep = usize::try_from(plan.template.keep).unwrap_or(usize::MAX);
    blocking(move || {
        let catalogue = &registering_host.catalogue;
        catalogue.set_template(&record, MAX_TEMPLATES)?;
        untag_old(&registering_host, &record.namespace, &record.name, keep)
    })
    .await?;
    let gone = retention::apply_to(host, &plan.namespace, &plan.name).await;
    let gone = gone
        .iter()
        .map(|number| plan.name.version(*number).to_string());
    Ok(gone.collect())
}

fn untag_old(
    host: &Host,
    namespace: &Namespace,
    name: &SnapshotName,
    keep: usize,
) -> snap_store::Result<()> {
    let all = host.catalogue.versions(namespace, name, None, usize::MAX)?;
    for old in all.iter().skip(keep) {
        let record = &old.snapshot;
        let is_made_by_it = record
            .labels
            .get(TEMPLATE_LABEL)
            .is_some_and(|of| of == name.name());
        if record.state != SnapshotState::Active || !is_made_by_it {
            continue;
        }
        let given = host.store.manifest(&record.id)?.name;
        let given = given.filter(|given| {
            *given != name.latest()
                && record.names.contains(given)
                && !record.immutable.contains(given)
        });
        if let Some(given) = given {
            host.catalogue
                .remove_name(namespace, &given, Force::No, clock::now())?;
        }
    }
    Ok(())
}

/// Removes results of steps that are no longer worth their space: those of the last build stay, and a few beside them.
pub(super) async fn thin_out(host: &Arc<Host>, plan: &BuildPlan, recipe: &Recipe) {
    let is_current = |record: &SnapshotRecord| {
        let key = record.labels.get(STEP_LABEL);
        key.is_some_and(|key| recipe.has(key))
    };
    let results = match results(&host.catalogue, &plan.namespace, &plan.name).await {
        Ok(results) => results,
        Err(error) => return warn!(error = in_full(&error), "Cannot list the results of steps"),
    };
    let mut seen = BTreeMap::new();
    let old = results.into_iter().filter(|record| {
        // Of several with one key the newest is of use.
        let key = record.labels.get(STEP_LABEL).cloned().unwrap_or_default();
        let is_second = seen.insert(key, ()).is_some();
        is_second || !is_current(record)
    });
    for record in old.skip(SPARE_RESULTS) {
        discard(host, &record).await;
    }
}

async fn results(
    catalogue: &Arc<Catalogue>,
    namespace: &Namespace,
    name: &SnapshotName,
) -> Result<Vec<SnapshotRecord>> {
    let (catalogue, namespace) = (Arc::clone(catalogue), namespace.clone());
    let mut all = blocking(move || catalogue.steps(&namespace, None)).await?;
    all.retain(|record| {
        record
            .labels
            .get(TEMPLATE_LABEL)
            .is_some_and(|of| of == name.name())
    });
    Ok(all)
}

/// One that is in use stays: it expires when it is used no more.
async fn discard(host: &Arc<Host>, record: &SnapshotRecord) {
    if let Err(error) = removal::remove(host, &[record.id]).await {
        debug!(snapshot = %record.id, error = in_full(&error), "Cannot remove the result of a step now");
    }
}

/// Removes what builds that were cut off have left: results of steps that are not whole.
///
/// # Errors
/// When the catalogue cannot be read.
pub(crate) async fn clear_failed(host: &Arc<Host>) -> Result<()> {
    let catalogue = Arc::clone(&host.catalogue);
    let failed = blocking(move || catalogue.in_state(SnapshotState::Failed)).await?;
    for record in failed
        .iter()
        .filter(|record| record.labels.contains_key(STEP_LABEL))
    {
        info!(snapshot = %record.id, "Removing the result of a step that was not finished");
        discard(host, record).await;
    }
    Ok(())
}

/// Forgets a template and the results of its steps; returns what it was.
///
/// # Errors
/// `NotFound` when there is none.
pub(crate) async fn remove(
    host: &Arc<Host>,
    namespace: &Namespace,
    name: &SnapshotName,
) -> Result<TemplateView> {
    let key = (namespace.clone(), name.name().to_owned());
    let _turn = host.builds.wait(&key).await;
    let (catalogue, of) = (
        Arc::clone(&host.catalogue),
        (namespace.clone(), name.clone()),
    );
    let record = blocking(move || catalogue.template(&of.0, &of.1)).await?;
    let last = view(host, &record).await?;
    let (catalogue, of) = (
        Arc::clone(&host.catalogue),
        (namespace.clone(), name.clone()),
    );
    blocking(move || catalogue.remove_template(&of.0, &of.1)).await?;
    for record in results(&host.catalogue, namespace, name).await? {
        discard(host, &record).await;
    }
    host.events
        .tell(Event::new("template-remove", name.name()).of(namespace));
    Ok(last)
}

/// A template as clients see it.
///
/// # Errors
/// When the catalogue cannot be read.
pub(crate) async fn view(host: &Arc<Host>, record: &TemplateRecord) -> Result<TemplateView> {
    let now = current(host, &record.namespace, &record.name).await?;
    let unusable = match &now {
        None => Some(format!("{} points to nothing", record.name)),
        Some(now) => usable(host, now).err(),
    };
    Ok(TemplateView {
        namespace: record.namespace.to_string(),
        name: record.name.name().to_owned(),
        template: definition(record)?,
        key: record.key.clone(),
        built_at: clock::rfc3339(record.built_at),
        snapshot: now.map(|now| views::snapshot_of(host, &now)),
        unusable,
    })
}

fn definition(record: &TemplateRecord) -> Result<Template> {
    serde_json::from_str(&record.definition).map_err(|error| {
        let damaged = StoreError::Corrupt {
            what: "Template",
            name: record.name.name().to_owned(),
            why: error.to_string(),
        };
        damaged.into()
    })
}
