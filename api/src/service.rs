//! The calls the daemon answers. Methods are only ever appended.
//!
//! Long work is a job: a `*_start` call answers with its id at once, the work goes on in the daemon
//! whatever becomes of the client, `job_wait` follows it and `job_cancel` ends it.

use crate::{
    auto::{AutoRequest, AutoSetRequest, AutoView, TriggerView},
    error::ErrorReport,
    event::{Events, EventsRequest},
    health::{DoctorReport, MountsUpgraded, Status},
    job::{JobStarted, JobView},
    naming::{
        HistoryRequest, Moves, MovesRequest, PinRequest, RollbackRequest, RolledBack, VersionView,
    },
    repair::RepairRequest,
    request::{
        ContainerRequest, CopyRequest, CreateRequest, DiffRequest, HelloRequest, JobRequest,
        JobWaitRequest, LabelRequest, ListRequest, MountRequest, PutRequest, ReferenceRequest,
        RemoveRequest, RestoreRequest, StatusRequest, TagRequest, TreeRequest, TtlRequest,
        UnmountRequest, UpgradeMountsRequest, VerifyRequest,
    },
    retention::{
        ForgetRequest, ForgetView, PolicyListRequest, PolicyRequest, PolicySetRequest, PolicyView,
    },
    template::{
        JobOutput, JobOutputRequest, TemplateBuildRequest, TemplatePlan, TemplateRequest,
        TemplateView,
    },
    trash::{TrashEmptied, TrashEmptyRequest, TrashView, UndeleteRequest, Undeleted},
    upkeep::{BackedUp, BackupRequest, CollectRequest},
    usage::StatsRequest,
    verdict::{Forecast, Verdict},
    view::{
        ContainerView, DiffEntry, Hello, MemoryContents, MountView, Page, Removed, SnapshotDetail,
        SnapshotView, TreeEntry,
    },
    volume::{VolumeChangeRequest, VolumeRequest, VolumeView},
};

/// Every call answers with this.
pub type Answer<T> = Result<T, ErrorReport>;

/// The daemon as its clients see it.
#[tarpc::service]
pub trait Snapshotd {
    /// Versions first: refused when the major versions differ.
    async fn hello(request: HelloRequest) -> Answer<Hello>;
    /// Starts capturing a container or a folder.
    async fn create_start(request: CreateRequest) -> Answer<JobStarted>;
    /// Starts restoring a snapshot as new containers.
    async fn restore_start(request: RestoreRequest) -> Answer<JobStarted>;
    /// Starts copying a path out of a snapshot to a folder of the host.
    async fn copy_start(request: CopyRequest) -> Answer<JobStarted>;
    /// Starts re-reading stored data against its digests.
    async fn verify_start(request: VerifyRequest) -> Answer<JobStarted>;
    /// Waits until a job has something newer than `since_seq`, or the wait is over.
    async fn job_wait(request: JobWaitRequest) -> Answer<JobView>;
    /// Asks a job to stop; what it had half done is undone.
    async fn job_cancel(request: JobRequest) -> Answer<JobView>;
    /// The jobs the daemon remembers, newest first.
    async fn job_list(request: ListRequest) -> Answer<Page<JobView>>;
    /// Snapshots of a namespace, newest first.
    async fn list(request: ListRequest) -> Answer<Page<SnapshotView>>;
    /// One snapshot with everything known of it.
    async fn show(request: ReferenceRequest) -> Answer<SnapshotDetail>;
    /// Removes snapshots; nothing is removed unless all of them can be.
    async fn remove(request: RemoveRequest) -> Answer<Removed>;
    /// Sets when a snapshot expires.
    async fn ttl_set(request: TtlRequest) -> Answer<SnapshotView>;
    /// Gives a snapshot a name, or takes one away.
    async fn tag_set(request: TagRequest) -> Answer<SnapshotView>;
    /// Adds, changes and removes labels.
    async fn label_set(request: LabelRequest) -> Answer<SnapshotView>;
    /// Mounts a snapshot at a folder of the host.
    async fn mount(request: MountRequest) -> Answer<MountView>;
    /// Unmounts such a folder.
    async fn unmount(request: UnmountRequest) -> Answer<MountView>;
    /// Names inside a snapshot.
    async fn tree(request: TreeRequest) -> Answer<Page<TreeEntry>>;
    /// What differs between two snapshots.
    async fn diff(request: DiffRequest) -> Answer<Page<DiffEntry>>;
    /// Restored containers of a namespace.
    async fn container_list(request: ListRequest) -> Answer<Page<ContainerView>>;
    /// Starts the task of a restored container again.
    async fn container_start(request: ContainerRequest) -> Answer<ContainerView>;
    /// Stops the task of a restored container.
    async fn container_stop(request: ContainerRequest) -> Answer<ContainerView>;
    /// Removes a restored container and what it held.
    async fn container_remove(request: ContainerRequest) -> Answer<ContainerView>;
    /// The daemon at a glance.
    async fn status(request: StatusRequest) -> Answer<Status>;
    /// What is missing on this host, and what to do about it.
    async fn doctor(request: StatusRequest) -> Answer<DoctorReport>;
    /// Copies the catalogue to a file of the host.
    async fn backup(request: BackupRequest) -> Answer<BackedUp>;
    /// Replaces every mount server with the installed binary, while their mounts are in use.
    async fn upgrade_mounts(request: UpgradeMountsRequest) -> Answer<MountsUpgraded>;
    /// Starts giving back the space of what no snapshot needs.
    async fn collect_start(request: CollectRequest) -> Answer<JobStarted>;
    /// Starts mending the store.
    async fn repair_start(request: RepairRequest) -> Answer<JobStarted>;
    /// Versions of a name, newest first.
    async fn history(request: HistoryRequest) -> Answer<Page<VersionView>>;
    /// Where `latest` of a name went.
    async fn moves(request: MovesRequest) -> Answer<Moves>;
    /// Moves `latest` of a name to an older version, or back.
    async fn rollback(request: RollbackRequest) -> Answer<RolledBack>;
    /// Lets a snapshot stay, or go again.
    async fn pin_set(request: PinRequest) -> Answer<SnapshotView>;
    /// What has happened after a cursor; waits for something to happen when nothing has yet.
    async fn events(request: EventsRequest) -> Answer<Events>;
    /// Says whether a container can be captured, without touching it.
    async fn check(request: ContainerRequest) -> Answer<Verdict>;
    /// Removes the versions of names that no rule keeps and nothing holds; by name, the newest first.
    async fn forget(request: ForgetRequest) -> Answer<Page<ForgetView>>;
    /// Stores what is kept of the versions of a name by itself.
    async fn policy_set(request: PolicySetRequest) -> Answer<PolicyView>;
    /// What is stored, by namespace and name.
    async fn policy_list(request: PolicyListRequest) -> Answer<Page<PolicyView>>;
    /// Keeps all versions of a name again.
    async fn policy_remove(request: PolicyRequest) -> Answer<PolicyView>;
    /// What is in the trash, what goes next first; without filters and orders.
    async fn trash_list(request: ListRequest) -> Answer<Page<TrashView>>;
    /// Takes snapshots back from the trash; none is unless all of them can be.
    async fn undelete(request: UndeleteRequest) -> Answer<Undeleted>;
    /// Removes for good what is in the trash.
    async fn trash_empty(request: TrashEmptyRequest) -> Answer<TrashEmptied>;
    /// Starts adding up what snapshots need of the store.
    async fn stats_start(request: StatsRequest) -> Answer<JobStarted>;
    /// Stores what is captured by itself, and when.
    async fn auto_set(request: AutoSetRequest) -> Answer<AutoView>;
    /// What is stored, by namespace and name; without filters and orders.
    async fn auto_list(request: ListRequest) -> Answer<Page<AutoView>>;
    /// Has no more of a name captured by itself.
    async fn auto_remove(request: AutoRequest) -> Answer<AutoView>;
    /// Says what a create would come to, without touching anything.
    async fn create_forecast(request: CreateRequest) -> Answer<Forecast>;
    /// What the memory of a snapshot holds.
    async fn memory_contents(request: ReferenceRequest) -> Answer<MemoryContents>;
    /// What building a template would come to; nothing is changed.
    async fn template_plan(request: TemplateBuildRequest) -> Answer<TemplatePlan>;
    /// Starts building a template, unless the last build was of the same.
    async fn template_build_start(request: TemplateBuildRequest) -> Answer<JobStarted>;
    /// Registered templates, by namespace and name.
    async fn template_list(request: ListRequest) -> Answer<Page<TemplateView>>;
    /// One registered template.
    async fn template_show(request: TemplateRequest) -> Answer<TemplateView>;
    /// Forgets a template and the results of its steps; the versions made by it stay.
    async fn template_remove(request: TemplateRequest) -> Answer<TemplateView>;
    /// What a job has printed so far.
    async fn job_output(request: JobOutputRequest) -> Answer<JobOutput>;
    /// Starts changing a volume, or what a container has of it.
    async fn volume_change_start(request: VolumeChangeRequest) -> Answer<JobStarted>;
    /// Volumes, by namespace and name; without filters and orders.
    async fn volume_list(request: ListRequest) -> Answer<Page<VolumeView>>;
    /// One volume.
    async fn volume_show(request: VolumeRequest) -> Answer<VolumeView>;
    /// Removes a volume with all its versions, for good.
    async fn volume_remove(request: VolumeRequest) -> Answer<VolumeView>;
    /// Starts putting a file or a folder of the host into the next version of a name.
    async fn put_start(request: PutRequest) -> Answer<JobStarted>;
    /// Containers that are captured when they end, by namespace and id; without filters and orders.
    async fn auto_triggers(request: ListRequest) -> Answer<Page<TriggerView>>;
}
