//! A daemon of answers: remembers what it was asked, and answers from a script.

use std::sync::{Arc, Mutex};

use serde::Serialize;
use serde_json::Value;
use snap_api::{
    Answer, AutoRequest, AutoSetRequest, AutoView, BackedUp, BackupRequest, CollectRequest,
    ContainerRequest, ContainerView, CopyRequest, CreateRequest, DiffEntry, DiffRequest,
    DoctorReport, ErrorCode, ErrorReport, Events, EventsRequest, Forecast, ForgetRequest,
    ForgetView, Hello, HelloRequest, HistoryRequest, JobOutput, JobOutputRequest, JobRequest,
    JobStarted, JobView, JobWaitRequest, LabelRequest, ListRequest, MemoryContents, MountRequest,
    MountView, MountsUpgraded, Moves, MovesRequest, Page, PinRequest, PolicyListRequest,
    PolicyRequest, PolicySetRequest, PolicyView, PutRequest, ReferenceRequest, RemoveRequest,
    Removed, RepairRequest, RestoreRequest, RollbackRequest, RolledBack, SnapshotDetail,
    SnapshotView, Snapshotd, StatsRequest, Status, StatusRequest, TagRequest, TemplateBuildRequest,
    TemplatePlan, TemplateRequest, TemplateView, TrashEmptied, TrashEmptyRequest, TrashView,
    TreeEntry, TreeRequest, TriggerView, TtlRequest, UndeleteRequest, Undeleted, UnmountRequest,
    UpgradeMountsRequest, Verdict, VerifyRequest, VersionView, VolumeChangeRequest, VolumeRequest,
    VolumeView,
};
use tarpc::context::Context;
use tokio::sync::Notify;

use crate::fixtures;

mod daemon;
mod script;
mod serving;

pub(crate) use daemon::Daemon;
pub(crate) use script::Script;

struct State {
    script: Mutex<Script>,
    seen: Mutex<Vec<(&'static str, Value)>>,
    cancelled: Notify,
    vanish: Notify,
}

#[derive(Clone)]
struct Fake(Arc<State>);

impl Fake {
    /// Remembers a call; answers with the scripted refusal, if there is one.
    fn note<T: Serialize>(&self, method: &'static str, request: &T) -> Answer<()> {
        let request = serde_json::to_value(request).unwrap();
        self.0.seen.lock().unwrap().push((method, request));
        let refusal = self.0.script.lock().unwrap().refusal.clone();
        refusal.map_or(Ok(()), Err)
    }

    fn job<T: Serialize>(&self, method: &'static str, request: &T) -> Answer<JobStarted> {
        self.note(method, request)?;
        Ok(JobStarted {
            job: fixtures::JOB.to_owned(),
            snapshot: Some(fixtures::ID.to_owned()),
        })
    }

    fn page<T: Clone>(items: &[T], cursor: Option<&str>) -> Page<T> {
        let start: usize = cursor.map_or(0, |cursor| cursor.parse().unwrap());
        let end = (start + 2).min(items.len());
        Page {
            items: items[start..end].to_vec(),
            next: (end < items.len()).then(|| end.to_string()),
        }
    }
}

impl Snapshotd for Fake {
    async fn hello(self, _: Context, request: HelloRequest) -> Answer<Hello> {
        let refusal = self.0.script.lock().unwrap().hello_refusal.clone();
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        Ok(Hello {
            major: request.major,
            minor: self.0.script.lock().unwrap().minor.unwrap_or(request.minor),
            version: "9.9.9".to_owned(),
        })
    }
    async fn create_start(self, _: Context, request: CreateRequest) -> Answer<JobStarted> {
        self.job("create_start", &request)
    }
    async fn restore_start(self, _: Context, request: RestoreRequest) -> Answer<JobStarted> {
        self.job("restore_start", &request)
    }
    async fn copy_start(self, _: Context, request: CopyRequest) -> Answer<JobStarted> {
        self.job("copy_start", &request)
    }
    async fn put_start(self, _: Context, request: PutRequest) -> Answer<JobStarted> {
        self.job("put_start", &request)
    }
    async fn auto_triggers(self, _: Context, request: ListRequest) -> Answer<Page<TriggerView>> {
        self.note("auto_triggers", &request)?;
        Ok(Page {
            items: vec![fixtures::trigger()],
            next: None,
        })
    }
    async fn verify_start(self, _: Context, request: VerifyRequest) -> Answer<JobStarted> {
        self.job("verify_start", &request)
    }
    async fn job_wait(self, _: Context, request: JobWaitRequest) -> Answer<JobView> {
        self.note("job_wait", &request)?;
        let next = self.0.script.lock().unwrap().waits.pop_front();
        if let Some(view) = next {
            return Ok(view);
        }
        self.0.cancelled.notified().await;
        Ok(fixtures::cancelled_job())
    }
    async fn job_cancel(self, _: Context, request: JobRequest) -> Answer<JobView> {
        self.note("job_cancel", &request)?;
        if !self.0.script.lock().unwrap().ignores_cancel {
            self.0.cancelled.notify_one();
        }
        Ok(fixtures::running_job(9))
    }
    async fn job_list(self, _: Context, request: ListRequest) -> Answer<Page<JobView>> {
        self.note("job_list", &request)?;
        Ok(Page {
            items: vec![fixtures::running_job(1), fixtures::cancelled_job()],
            next: None,
        })
    }
    async fn list(self, _: Context, request: ListRequest) -> Answer<Page<SnapshotView>> {
        self.note("list", &request)?;
        let script = self.0.script.lock().unwrap();
        Ok(Self::page(&script.snapshots, request.cursor.as_deref()))
    }
    async fn show(self, _: Context, request: ReferenceRequest) -> Answer<SnapshotDetail> {
        self.note("show", &request)?;
        Ok(fixtures::detail())
    }
    async fn remove(self, _: Context, request: RemoveRequest) -> Answer<Removed> {
        self.note("remove", &request)?;
        Ok(Removed {
            ids: request.references,
            in_trash_until: (!request.permanent).then(|| fixtures::THEN.to_owned()),
        })
    }
    async fn ttl_set(self, _: Context, request: TtlRequest) -> Answer<SnapshotView> {
        self.note("ttl_set", &request)?;
        Ok(fixtures::snapshot())
    }
    async fn tag_set(self, _: Context, request: TagRequest) -> Answer<SnapshotView> {
        self.note("tag_set", &request)?;
        Ok(fixtures::snapshot())
    }
    async fn label_set(self, _: Context, request: LabelRequest) -> Answer<SnapshotView> {
        self.note("label_set", &request)?;
        Ok(fixtures::snapshot())
    }
    async fn mount(self, _: Context, request: MountRequest) -> Answer<MountView> {
        self.note("mount", &request)?;
        Ok(MountView {
            path: request.path,
            snapshot: fixtures::ID.to_owned(),
            writable: request.writable,
        })
    }
    async fn unmount(self, _: Context, request: UnmountRequest) -> Answer<MountView> {
        self.note("unmount", &request)?;
        Ok(MountView {
            path: request.path,
            snapshot: fixtures::ID.to_owned(),
            writable: false,
        })
    }
    async fn tree(self, _: Context, request: TreeRequest) -> Answer<Page<TreeEntry>> {
        self.note("tree", &request)?;
        let script = self.0.script.lock().unwrap();
        Ok(Self::page(&script.entries, request.cursor.as_deref()))
    }
    async fn diff(self, _: Context, request: DiffRequest) -> Answer<Page<DiffEntry>> {
        self.note("diff", &request)?;
        let script = self.0.script.lock().unwrap();
        Ok(Self::page(&script.differences, request.cursor.as_deref()))
    }
    async fn container_list(self, _: Context, request: ListRequest) -> Answer<Page<ContainerView>> {
        self.note("container_list", &request)?;
        Ok(Page {
            items: vec![fixtures::container("web-1")],
            next: None,
        })
    }
    async fn container_start(self, _: Context, request: ContainerRequest) -> Answer<ContainerView> {
        self.note("container_start", &request)?;
        Ok(fixtures::container(&request.id))
    }
    async fn container_stop(self, _: Context, request: ContainerRequest) -> Answer<ContainerView> {
        self.note("container_stop", &request)?;
        Ok(fixtures::container(&request.id))
    }
    async fn container_remove(
        self,
        _: Context,
        request: ContainerRequest,
    ) -> Answer<ContainerView> {
        self.note("container_remove", &request)?;
        Ok(fixtures::container(&request.id))
    }
    async fn status(self, _: Context, request: StatusRequest) -> Answer<Status> {
        self.note("status", &request)?;
        Ok(fixtures::status())
    }
    async fn doctor(self, _: Context, request: StatusRequest) -> Answer<DoctorReport> {
        self.note("doctor", &request)?;
        let checks = self.0.script.lock().unwrap().checks.clone();
        Ok(DoctorReport { checks })
    }
    async fn check(self, _: Context, request: ContainerRequest) -> Answer<Verdict> {
        self.note("check", &request)?;
        let blockers = self.0.script.lock().unwrap().blockers.clone();
        Ok(fixtures::verdict(&request.id, blockers))
    }
    async fn create_forecast(self, _: Context, request: CreateRequest) -> Answer<Forecast> {
        self.note("create_forecast", &request)?;
        let blockers = self.0.script.lock().unwrap().blockers.clone();
        Ok(fixtures::forecast(blockers))
    }
    async fn memory_contents(
        self,
        _: Context,
        request: ReferenceRequest,
    ) -> Answer<MemoryContents> {
        self.note("memory_contents", &request)?;
        Ok(fixtures::contents())
    }
    async fn collect_start(self, _: Context, request: CollectRequest) -> Answer<JobStarted> {
        self.job("collect_start", &request)
    }
    async fn auto_set(self, _: Context, request: AutoSetRequest) -> Answer<AutoView> {
        self.note("auto_set", &request)?;
        Ok(fixtures::auto(&request.name))
    }
    async fn auto_list(self, _: Context, request: ListRequest) -> Answer<Page<AutoView>> {
        self.note("auto_list", &request)?;
        let autos = ["app", "db", "web"].map(fixtures::auto);
        Ok(Self::page(&autos, request.cursor.as_deref()))
    }
    async fn auto_remove(self, _: Context, request: AutoRequest) -> Answer<AutoView> {
        self.note("auto_remove", &request)?;
        Ok(fixtures::auto(&request.name))
    }
    async fn stats_start(self, _: Context, request: StatsRequest) -> Answer<JobStarted> {
        self.job("stats_start", &request)
    }
    async fn repair_start(self, _: Context, request: RepairRequest) -> Answer<JobStarted> {
        self.job("repair_start", &request)
    }
    async fn history(self, _: Context, request: HistoryRequest) -> Answer<Page<VersionView>> {
        self.note("history", &request)?;
        let script = self.0.script.lock().unwrap();
        Ok(Self::page(&script.versions, request.cursor.as_deref()))
    }
    async fn moves(self, _: Context, request: MovesRequest) -> Answer<Moves> {
        self.note("moves", &request)?;
        let moves = fixtures::moves();
        Ok(Moves { moves })
    }
    async fn rollback(self, _: Context, request: RollbackRequest) -> Answer<RolledBack> {
        self.note("rollback", &request)?;
        Ok(fixtures::rolled_back())
    }
    async fn pin_set(self, _: Context, request: PinRequest) -> Answer<SnapshotView> {
        self.note("pin_set", &request)?;
        Ok(fixtures::snapshot())
    }
    async fn events(self, _: Context, request: EventsRequest) -> Answer<Events> {
        self.note("events", &request)?;
        let script = self.0.script.lock().unwrap();
        let given = request.cursor.map_or(0, |cursor| cursor.parse().unwrap());
        let rest = script.events.iter().skip(given).take(2);
        let events: Vec<_> = rest.cloned().collect();
        if events.is_empty() && request.max_wait_ms > 0 {
            let message = "Nothing happens any more";
            return Err(ErrorReport::new(
                ErrorCode::Unavailable,
                "stopping",
                message,
            ));
        }
        Ok(Events {
            cursor: (given + events.len()).to_string(),
            missed: false,
            events,
        })
    }
    async fn forget(self, _: Context, request: ForgetRequest) -> Answer<Page<ForgetView>> {
        self.note("forget", &request)?;
        Ok(Self::page(
            &fixtures::forgotten(),
            request.cursor.as_deref(),
        ))
    }
    async fn policy_set(self, _: Context, request: PolicySetRequest) -> Answer<PolicyView> {
        self.note("policy_set", &request)?;
        Ok(fixtures::policy(&request.name))
    }
    async fn policy_list(self, _: Context, request: PolicyListRequest) -> Answer<Page<PolicyView>> {
        self.note("policy_list", &request)?;
        let policies = ["app", "db", "web"].map(fixtures::policy);
        Ok(Self::page(&policies, request.cursor.as_deref()))
    }
    async fn policy_remove(self, _: Context, request: PolicyRequest) -> Answer<PolicyView> {
        self.note("policy_remove", &request)?;
        Ok(fixtures::policy(&request.name))
    }
    async fn trash_list(self, _: Context, request: ListRequest) -> Answer<Page<TrashView>> {
        self.note("trash_list", &request)?;
        let trashed = [1, 2].map(fixtures::trashed);
        Ok(Self::page(&trashed, request.cursor.as_deref()))
    }
    async fn undelete(self, _: Context, request: UndeleteRequest) -> Answer<Undeleted> {
        self.note("undelete", &request)?;
        Ok(fixtures::undeleted())
    }
    async fn trash_empty(self, _: Context, request: TrashEmptyRequest) -> Answer<TrashEmptied> {
        self.note("trash_empty", &request)?;
        Ok(fixtures::emptied())
    }
    async fn template_plan(
        self,
        _: Context,
        request: TemplateBuildRequest,
    ) -> Answer<TemplatePlan> {
        self.note("template_plan", &request)?;
        Ok(fixtures::plan(&request))
    }
    async fn template_build_start(
        self,
        _: Context,
        request: TemplateBuildRequest,
    ) -> Answer<JobStarted> {
        self.job("template_build_start", &request)
    }
    async fn template_list(self, _: Context, request: ListRequest) -> Answer<Page<TemplateView>> {
        self.note("template_list", &request)?;
        let templates = ["app", "db", "web"].map(fixtures::template);
        Ok(Self::page(&templates, request.cursor.as_deref()))
    }
    async fn template_show(self, _: Context, request: TemplateRequest) -> Answer<TemplateView> {
        self.note("template_show", &request)?;
        Ok(fixtures::template(&request.name))
    }
    async fn template_remove(self, _: Context, request: TemplateRequest) -> Answer<TemplateView> {
        self.note("template_remove", &request)?;
        Ok(fixtures::template(&request.name))
    }
    async fn volume_change_start(
        self,
        _: Context,
        request: VolumeChangeRequest,
    ) -> Answer<JobStarted> {
        self.job("volume_change_start", &request)
    }
    async fn volume_list(self, _: Context, request: ListRequest) -> Answer<Page<VolumeView>> {
        self.note("volume_list", &request)?;
        let volumes = ["cache", "data", "models"].map(fixtures::volume);
        Ok(Self::page(&volumes, request.cursor.as_deref()))
    }
    async fn volume_show(self, _: Context, request: VolumeRequest) -> Answer<VolumeView> {
        self.note("volume_show", &request)?;
        Ok(fixtures::volume(&request.name))
    }
    async fn volume_remove(self, _: Context, request: VolumeRequest) -> Answer<VolumeView> {
        self.note("volume_remove", &request)?;
        Ok(fixtures::volume(&request.name))
    }
    async fn job_output(self, _: Context, request: JobOutputRequest) -> Answer<JobOutput> {
        self.note("job_output", &request)?;
        let all = "Step 1 of 1: run true\n";
        let rest = usize::try_from(request.offset).unwrap();
        Ok(JobOutput {
            text: all[rest.min(all.len())..].to_owned(),
            next: all.len() as u64,
            missed: false,
        })
    }
    async fn backup(self, _: Context, request: BackupRequest) -> Answer<BackedUp> {
        self.note("backup", &request)?;
        Ok(BackedUp {
            path: request.path,
            bytes: 4096,
            elapsed_us: 1500,
        })
    }
    async fn upgrade_mounts(
        self,
        _: Context,
        request: UpgradeMountsRequest,
    ) -> Answer<MountsUpgraded> {
        self.note("upgrade_mounts", &request)?;
        let mounts = self.0.script.lock().unwrap().upgrades.clone();
        Ok(MountsUpgraded { mounts })
    }
}
