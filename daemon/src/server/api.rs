//! The calls, each a few lines: who may, which recipe, how it is answered.

use std::time::Duration;

use snap_api::{
    AutoRequest, AutoSetRequest, AutoView, BackedUp, BackupRequest, CollectRequest,
    ContainerRequest, ContainerView, CopyRequest, CreateRequest, DiffEntry, DiffRequest,
    DoctorReport, ErrorCode, ErrorReport, Events, EventsRequest, Forecast, ForgetRequest,
    ForgetView, Hello, HelloRequest, HistoryRequest, JobOutput, JobOutputRequest, JobRequest,
    JobStarted, JobView, JobWaitRequest, LabelRequest, ListRequest, MemoryContents, MountRequest,
    MountView, MountsUpgraded, Moves, MovesRequest, PROTOCOL_MAJOR, PROTOCOL_MINOR, Page,
    PinRequest, PolicyListRequest, PolicyRequest, PolicySetRequest, PolicyView, PutRequest,
    ReferenceRequest, RemoveRequest, Removed, RepairRequest, RestoreRequest, RollbackRequest,
    RolledBack, SnapshotDetail, SnapshotView, Snapshotd, StatsRequest, Status, StatusRequest,
    TagRequest, TemplateBuildRequest, TemplatePlan, TemplateRequest, TemplateView, TrashEmptied,
    TrashEmptyRequest, TrashView, TreeEntry, TreeRequest, TriggerView, TtlRequest, UndeleteRequest,
    Undeleted, UnmountRequest, UpgradeMountsRequest, Verdict, VerifyRequest, VersionView,
    VolumeChangeRequest, VolumeRequest, VolumeView,
};
use tarpc::context::Context;
use tracing::debug;

use super::{
    autos, browse,
    calls::{Answer, Api},
    changes, copies, listing, naming, parse, policies, retention, templates, trash, tree, volumes,
    work,
};
use crate::{backup, collect, containers, doctor, error::Result, mounts, status};

/// Questions that a recipe answers as they are: the call, its request and its answer, its name in the log, and the recipe.
macro_rules! questions {
    ($($call:ident($request:ty) -> $answer:ty = $verb:literal, $recipe:path;)*) => {$(
        async fn $call(self, _: Context, request: $request) -> Answer<$answer> {
            self.ask($verb, |host| async move { $recipe(&host, &request).await }).await
        }
    )*};
}

/// The same of recipes that decide by who asks.
macro_rules! works {
    ($($call:ident($request:ty) -> $answer:ty = $verb:literal, $recipe:path;)*) => {$(
        async fn $call(self, _: Context, request: $request) -> Answer<$answer> {
            let peer = self.peer;
            self.ask($verb, move |host| async move { $recipe(&host, peer, request).await }).await
        }
    )*};
}

impl Snapshotd for Api {
    works! {
        create_start(CreateRequest) -> JobStarted = "create", work::create;
        restore_start(RestoreRequest) -> JobStarted = "restore", work::restore;
        copy_start(CopyRequest) -> JobStarted = "copy", copies::copy;
        put_start(PutRequest) -> JobStarted = "put", copies::put;
        create_forecast(CreateRequest) -> Forecast = "forecast", work::forecast;
        template_plan(TemplateBuildRequest) -> TemplatePlan = "template-plan", templates::plan;
        template_build_start(TemplateBuildRequest) -> JobStarted = "build", templates::build;
        volume_change_start(VolumeChangeRequest) -> JobStarted = "volume-change", volumes::change;
    }

    questions! {
        list(ListRequest) -> Page<SnapshotView> = "list", listing::snapshots;
        show(ReferenceRequest) -> SnapshotDetail = "show", browse::show;
        container_list(ListRequest) -> Page<ContainerView> = "containers", browse::containers;
        history(HistoryRequest) -> Page<VersionView> = "history", naming::history;
        moves(MovesRequest) -> Moves = "moves", naming::moves;
        policy_list(PolicyListRequest) -> Page<PolicyView> = "policies", policies::list;
        trash_list(ListRequest) -> Page<TrashView> = "trash", trash::list;
        auto_list(ListRequest) -> Page<AutoView> = "autos", autos::list;
        auto_triggers(ListRequest) -> Page<TriggerView> = "triggers", autos::triggers;
        template_list(ListRequest) -> Page<TemplateView> = "templates", templates::list;
        template_show(TemplateRequest) -> TemplateView = "template", templates::show;
        volume_list(ListRequest) -> Page<VolumeView> = "volumes", volumes::list;
        volume_show(VolumeRequest) -> VolumeView = "volume", volumes::show;
    }

    async fn hello(self, _: Context, request: HelloRequest) -> Answer<Hello> {
        self.admit()?;
        let HelloRequest { major, minor, .. } = request;
        debug!(
            client = request.client.escape_debug().to_string(),
            major, minor, "Hello"
        );
        if major == PROTOCOL_MAJOR {
            return Ok(Hello {
                major: PROTOCOL_MAJOR,
                minor: PROTOCOL_MINOR,
                version: env!("CARGO_PKG_VERSION").to_owned(),
            });
        }
        let message = format!("snapshotd speaks protocol {PROTOCOL_MAJOR}, the client {major}");
        let hint = format!("Use the snapctl of snapshotd {}", env!("CARGO_PKG_VERSION"));
        Err(ErrorReport::new(ErrorCode::Unavailable, "protocol-version", message).hint(hint))
    }

    async fn verify_start(self, _: Context, request: VerifyRequest) -> Answer<JobStarted> {
        self.ask("verify", |host| async move {
            work::verify(&host, request).await
        })
        .await
    }

    async fn job_wait(self, _: Context, request: JobWaitRequest) -> Answer<JobView> {
        let _turn = self.wait()?;
        let limit = Duration::from_millis(request.max_wait_ms);
        let waited = self
            .host
            .jobs
            .wait(&request.job, request.since_seq, limit)
            .await;
        waited.map_err(ErrorReport::from)
    }

    async fn job_cancel(self, _: Context, request: JobRequest) -> Answer<JobView> {
        self.ask(
            "cancel",
            |host| async move { host.jobs.cancel(&request.job) },
        )
        .await
    }

    async fn job_list(self, _: Context, request: ListRequest) -> Answer<Page<JobView>> {
        self.ask("jobs", |host| async move { browse::jobs(&host, &request) })
            .await
    }

    async fn remove(self, _: Context, request: RemoveRequest) -> Answer<Removed> {
        let subject = request.references.join(" ");
        self.change("remove", &subject, |host| async move {
            changes::remove(&host, &request).await
        })
        .await
    }

    async fn ttl_set(self, _: Context, request: TtlRequest) -> Answer<SnapshotView> {
        let subject = request.reference.clone();
        self.change("ttl", &subject, |host| async move {
            changes::set_ttl(&host, &request).await
        })
        .await
    }

    async fn tag_set(self, _: Context, request: TagRequest) -> Answer<SnapshotView> {
        let subject = request.name.clone();
        self.change("tag", &subject, |host| async move {
            naming::set_name(&host, &request).await
        })
        .await
    }

    async fn label_set(self, _: Context, request: LabelRequest) -> Answer<SnapshotView> {
        let subject = request.reference.clone();
        self.change("label", &subject, |host| async move {
            changes::set_labels(&host, request).await
        })
        .await
    }

    async fn mount(self, _: Context, request: MountRequest) -> Answer<MountView> {
        let (peer, subject) = (self.peer, request.path.to_string());
        self.change("mount", &subject, move |host| async move {
            peer.require_root("mount snapshots on folders of the host")?;
            changes::mount(&host, &request).await
        })
        .await
    }

    async fn unmount(self, _: Context, request: UnmountRequest) -> Answer<MountView> {
        let (peer, subject) = (self.peer, request.path.to_string());
        self.change("unmount", &subject, move |host| async move {
            peer.require_root("unmount folders of the host")?;
            changes::unmount(&host, &request).await
        })
        .await
    }

    async fn tree(self, _: Context, request: TreeRequest) -> Answer<Page<TreeEntry>> {
        self.ask(
            "tree",
            |host| async move { tree::page(&host, request).await },
        )
        .await
    }

    async fn diff(self, _: Context, request: DiffRequest) -> Answer<Page<DiffEntry>> {
        self.ask(
            "diff",
            |host| async move { tree::diff(&host, request).await },
        )
        .await
    }

    async fn container_start(self, _: Context, request: ContainerRequest) -> Answer<ContainerView> {
        let subject = request.id.clone();
        self.change("start", &subject, |host| async move {
            let (namespace, id) = container(&request)?;
            containers::start(&host, &namespace, &id).await
        })
        .await
    }

    async fn container_stop(self, _: Context, request: ContainerRequest) -> Answer<ContainerView> {
        let subject = request.id.clone();
        self.change("stop", &subject, |host| async move {
            let (namespace, id) = container(&request)?;
            containers::stop(&host, &namespace, &id).await
        })
        .await
    }

    async fn container_remove(
        self,
        _: Context,
        request: ContainerRequest,
    ) -> Answer<ContainerView> {
        let subject = request.id.clone();
        self.change("remove-container", &subject, |host| async move {
            let (namespace, id) = container(&request)?;
            containers::remove(&host, &namespace, &id).await
        })
        .await
    }

    async fn status(self, _: Context, _: StatusRequest) -> Answer<Status> {
        self.ask("status", |host| async move { status::status(&host).await })
            .await
    }

    async fn doctor(self, _: Context, _: StatusRequest) -> Answer<DoctorReport> {
        self.ask(
            "doctor",
            |host| async move { Ok(doctor::doctor(&host).await) },
        )
        .await
    }

    async fn check(self, _: Context, request: ContainerRequest) -> Answer<Verdict> {
        self.ask("check", |host| async move {
            let (namespace, id) = container(&request)?;
            work::check(&host, namespace, id).await
        })
        .await
    }

    async fn memory_contents(
        self,
        _: Context,
        request: ReferenceRequest,
    ) -> Answer<MemoryContents> {
        let peer = self.peer;
        self.ask("memory", move |host| async move {
            browse::memory(&host, peer, &request).await
        })
        .await
    }

    async fn repair_start(self, _: Context, request: RepairRequest) -> Answer<JobStarted> {
        let peer = self.peer;
        self.ask("repair", move |host| async move {
            work::repair(&host, peer, &request)
        })
        .await
    }

    async fn auto_set(self, _: Context, request: AutoSetRequest) -> Answer<AutoView> {
        let (peer, subject) = (self.peer, request.name.clone());
        self.change("auto-set", &subject, move |host| async move {
            autos::set(&host, peer, request).await
        })
        .await
    }

    async fn auto_remove(self, _: Context, request: AutoRequest) -> Answer<AutoView> {
        let subject = request.name.clone();
        self.change("auto-remove", &subject, |host| async move {
            autos::remove(&host, &request).await
        })
        .await
    }

    async fn stats_start(self, _: Context, request: StatsRequest) -> Answer<JobStarted> {
        self.ask(
            "stats",
            |host| async move { work::stats(&host, request).await },
        )
        .await
    }

    async fn backup(self, _: Context, request: BackupRequest) -> Answer<BackedUp> {
        let (peer, subject) = (self.peer, request.path.to_string());
        self.change("backup", &subject, move |host| async move {
            peer.require_root("write files of the host")?;
            backup::to_file(&host, parse::host_path(&request.path)?).await
        })
        .await
    }

    async fn upgrade_mounts(self, _: Context, _: UpgradeMountsRequest) -> Answer<MountsUpgraded> {
        let peer = self.peer;
        self.change("upgrade-mounts", "all", move |host| async move {
            peer.require_root_for_service("replace the mount servers")?;
            Ok(mounts::upgrade(&host).await)
        })
        .await
    }

    async fn rollback(self, _: Context, request: RollbackRequest) -> Answer<RolledBack> {
        let subject = request.name.clone();
        self.change("rollback", &subject, |host| async move {
            naming::rollback(&host, &request).await
        })
        .await
    }

    async fn pin_set(self, _: Context, request: PinRequest) -> Answer<SnapshotView> {
        let subject = request.reference.clone();
        self.change("pin", &subject, |host| async move {
            naming::set_pin(&host, &request).await
        })
        .await
    }

    async fn events(self, _: Context, request: EventsRequest) -> Answer<Events> {
        let _turn = self.wait()?;
        let namespace = parse::optional_namespace(request.namespace.as_deref())?;
        let limit = parse::page_limit(request.limit);
        let wait = Duration::from_millis(request.max_wait_ms);
        let (cursor, events) = (request.cursor.as_deref(), &self.host.events);
        Ok(events.after(cursor, namespace.as_ref(), limit, wait).await)
    }

    async fn forget(self, _: Context, request: ForgetRequest) -> Answer<Page<ForgetView>> {
        let subject = match request.all_names {
            true => "all names".to_owned(),
            false => request.names.join(" "),
        };
        self.change("forget", &subject, |host| async move {
            retention::forget(&host, &request).await
        })
        .await
    }

    async fn policy_set(self, _: Context, request: PolicySetRequest) -> Answer<PolicyView> {
        let subject = request.name.clone();
        self.change("policy-set", &subject, |host| async move {
            policies::set(&host, &request).await
        })
        .await
    }

    async fn policy_remove(self, _: Context, request: PolicyRequest) -> Answer<PolicyView> {
        let subject = request.name.clone();
        self.change("policy-remove", &subject, |host| async move {
            policies::remove(&host, &request).await
        })
        .await
    }

    async fn undelete(self, _: Context, request: UndeleteRequest) -> Answer<Undeleted> {
        let subject = request.references.join(" ");
        self.change("undelete", &subject, |host| async move {
            trash::undelete(&host, &request).await
        })
        .await
    }

    async fn trash_empty(self, _: Context, request: TrashEmptyRequest) -> Answer<TrashEmptied> {
        let subject = match request.references.is_empty() {
            true => "all".to_owned(),
            false => request.references.join(" "),
        };
        self.change("trash-empty", &subject, |host| async move {
            trash::empty(&host, &request).await
        })
        .await
    }

    async fn template_remove(self, _: Context, request: TemplateRequest) -> Answer<TemplateView> {
        let subject = request.name.clone();
        self.change("template-remove", &subject, |host| async move {
            templates::remove(&host, &request).await
        })
        .await
    }

    async fn volume_remove(self, _: Context, request: VolumeRequest) -> Answer<VolumeView> {
        let subject = request.name.clone();
        self.change("volume-remove", &subject, |host| async move {
            volumes::remove(&host, &request).await
        })
        .await
    }

    async fn job_output(self, _: Context, request: JobOutputRequest) -> Answer<JobOutput> {
        self.ask("output", |host| async move {
            host.jobs.output(&request.job, request.offset)
        })
        .await
    }

    async fn collect_start(self, _: Context, request: CollectRequest) -> Answer<JobStarted> {
        self.ask("collect", |host| async move {
            collect::start(
                &host,
                parse::namespace(&request.namespace)?,
                parse::collection(&request, &host.config)?,
            )
        })
        .await
    }
}

fn container(request: &ContainerRequest) -> Result<(snap_store::Namespace, String)> {
    Ok((
        parse::namespace(&request.namespace)?,
        parse::container_id(&request.id)?,
    ))
}
