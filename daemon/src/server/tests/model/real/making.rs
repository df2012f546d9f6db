//! Creates: by the recipe itself of a real folder, and by what the recipe does to store and catalogue of made-up contents.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use snap_api::{
    CreateRequest, CreateSource as WireSource, JobOutcome, ListRequest, SnapshotView, WirePath,
};
use snap_store::{ContainerConfig, HostFacts, LinkTable, Manifest, Meta, Origin, SnapshotRecord};

use super::{
    super::{
        calls::{Call, Creation, Ending},
        plain::Facts,
    },
    ROOT, Real,
};
use crate::{
    auto, clock,
    create::{self, CreatePlan},
    error::Result,
    fixture,
    jobs::{JobKind, JobRequest},
    quota, retention,
    server::work,
    views,
};

impl Real {
    pub(super) async fn create(&mut self, creation: &Creation) -> Result<Value> {
        let host = Arc::clone(self.host());
        let mut plan = work::create_plan(&host, ROOT, request(creation))?;
        plan.id = creation.id.parse().unwrap();
        if creation.is_real {
            return self.by_recipe(plan, creation).await;
        }
        if let Some(name) = &plan.name {
            host.catalogue.require_free(&plan.namespace, name)?;
        }
        quota::admit(&host, &plan.namespace).await?;
        let limit = host.config.snapshots_per_namespace;
        host.catalogue.insert(&record(&plan, creation), limit)?;
        self.creating
            .insert(creation.id.clone(), (plan.clone(), creation.clone()));
        match creation.ending {
            Ending::Active => return self.end_create(&creation.id, true).await,
            Ending::Failed => return self.end_create(&creation.id, false).await,
            Ending::Creating => {}
            Ending::Killed { is_whole } => {
                if is_whole {
                    self.commit(&plan, creation)?;
                }
                drop(host);
                self.restart(false).await;
            }
        }
        Ok(Value::Null)
    }

    /// The end of a create that goes on.
    pub(super) async fn end_create(&mut self, id: &str, is_well: bool) -> Result<Value> {
        let (plan, creation) = self.creating.remove(id).unwrap();
        let host = Arc::clone(self.host());
        if !is_well {
            host.catalogue.fail(&plan.id, "as it was told")?;
            return Ok(Value::Null);
        }
        let limit = quota::stored_bytes_limit(&host.config);
        let made = self
            .commit(&plan, &creation)
            .and_then(|manifest| Ok(host.catalogue.activate_within(&manifest, limit)?));
        let record = match made {
            Ok(record) => record,
            Err(error) => {
                host.store.remove_manifest(&plan.id)?;
                host.catalogue.fail(&plan.id, &error.to_string())?;
                return Err(error);
            }
        };
        let view = views::snapshot(&record);
        let mut forgotten = Vec::new();
        if let Some(name) = &plan.name {
            let gone = retention::apply_to(&host, &plan.namespace, name).await;
            forgotten.extend(gone.iter().map(|number| name.version(*number).to_string()));
        }
        let warnings = quota::warnings(&host, &plan.namespace).len();
        Ok(json!({ "snapshot": view, "forgotten": forgotten, "warnings": warnings }))
    }

    /// Everything up to the manifest.
    fn commit(&mut self, plan: &CreatePlan, creation: &Creation) -> Result<Manifest> {
        let host = Arc::clone(self.host());
        let draft = host.store.begin(plan.id)?;
        let root = fixture::tree(&draft, &creation.content.to_string());
        self.noted.facts = Facts {
            nodes: root.nodes,
            logical_bytes: creation.logical_bytes,
            stored_bytes: 0,
        };
        let version = match &plan.name {
            Some(name) => host.catalogue.next_version(&plan.namespace, name)?,
            None => None,
        };
        let manifest = Manifest {
            id: plan.id,
            namespace: plan.namespace.clone(),
            created_at: clock::now(),
            name: plan.name.clone(),
            version,
            expires_at: plan.expires_at,
            labels: plan.labels.clone(),
            root,
            root_meta: Meta::default(),
            links: LinkTable::default(),
            logical_bytes: creation.logical_bytes,
            stored_bytes: 0,
            pause_us: 0,
            memory: None,
            origin: origin(creation),
            host: HostFacts::default(),
        };
        let facts = &mut self.noted.facts;
        let committed = draft.commit_if(manifest, |stats| {
            facts.stored_bytes = stats.stored_bytes;
            quota::require_room(&host, &plan.namespace, stats.stored_bytes)
        });
        Ok(committed?.0)
    }

    /// Looks for what is due by the calendar, and waits for what is made.
    pub(super) async fn look_at_autos(&mut self) -> Result<Value> {
        let host = Arc::clone(self.host());
        let before: Vec<_> = host.catalogue.autos(None)?;
        auto::round(&host, &auto::Running::default(), clock::now()).await;
        while host.jobs.running() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for (was, is) in before.iter().zip(host.catalogue.autos(None)?) {
            let Some(Ok(id)) = is.last.as_ref().map(|last| &last.result) else {
                continue;
            };
            // The policy of its name may have let it go at once.
            if was.last != is.last
                && let Ok(record) = host.catalogue.get(id)
            {
                let made = facts(&views::snapshot(&record));
                let namespace = is.namespace.to_string();
                self.noted.made.push((namespace, id.to_string(), made));
            }
        }
        self.asked(&Call::AutoList(ListRequest::default())).await
    }

    async fn by_recipe(&mut self, plan: CreatePlan, creation: &Creation) -> Result<Value> {
        let host = Arc::clone(self.host());
        create::check(&host, &plan).await?;
        let request = JobRequest {
            kind: JobKind::Create,
            namespace: plan.namespace.clone(),
            subject: creation.source.clone(),
            snapshot: Some(plan.id),
            key: None,
        };
        let job_host = Arc::clone(&host);
        let started = host.jobs.start(request, move |job| async move {
            let created = create::create(&job_host, plan, &job).await?;
            Ok(JobOutcome::Created(Box::new(created)))
        })?;
        let JobOutcome::Created(created) = host.jobs.outcome(&started.job).await? else {
            panic!("a create ends as something else");
        };
        self.noted.facts = facts(&created.snapshot);
        let of_limits = created.warnings.iter();
        let warnings = of_limits
            .filter(|text| text.starts_with("Namespace "))
            .count();
        Ok(json!({
            "snapshot": created.snapshot,
            "forgotten": created.forgotten,
            "warnings": warnings,
        }))
    }
}

/// What a capture came to.
fn facts(made: &SnapshotView) -> Facts {
    Facts {
        nodes: made.nodes,
        logical_bytes: made.logical_bytes,
        stored_bytes: made.stored_bytes,
    }
}

fn request(creation: &Creation) -> CreateRequest {
    CreateRequest {
        namespace: creation.namespace.clone(),
        source: match creation.source.starts_with('/') {
            true => WireSource::Path(WirePath::new(creation.source.as_bytes())),
            false => WireSource::Container(creation.source.clone()),
        },
        name: creation.name.clone(),
        ttl: creation.ttl,
        unused_seconds: creation.unused_seconds,
        labels: creation.labels.clone(),
        exclude: Vec::new(),
        include_mounts: Vec::new(),
        stop: false,
        memory: Default::default(),
        hook: None,
        verify: false,
        idempotency_key: None,
    }
}

fn origin(creation: &Creation) -> Origin {
    match creation.source.starts_with('/') {
        true => Origin::Path(creation.source.clone()),
        false => Origin::Container(Box::new(ContainerConfig {
            id: creation.source.clone(),
            image: "busybox".to_owned(),
            ..fixture::container()
        })),
    }
}

/// As the recipe notes that it has begun.
fn record(plan: &CreatePlan, creation: &Creation) -> SnapshotRecord {
    let is_container = !creation.source.starts_with('/');
    SnapshotRecord {
        labels: plan.labels.clone(),
        is_container,
        image: is_container.then(|| "busybox".to_owned()),
        expires_at: plan.expires_at,
        unused_seconds: plan.unused_seconds,
        ..SnapshotRecord::creating(
            plan.id,
            plan.namespace.clone(),
            creation.source.clone(),
            clock::now(),
        )
    }
}
