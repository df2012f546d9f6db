//! A stage: the container in which steps of one build are run, one after the other. It is in the catalogue as a restore that is not
//! complete, so that whatever ends its build, now or at the next start, undoes it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use snap_api::{BuildNetwork, ErrorCode, ErrorReport, NetworkChoice};
use snap_fs::capture::Exclude;
use snap_store::{
    ContainerConfig, ContainerRecord, Meta, Origin, Progress, SnapshotId, SnapshotRecord,
};

use super::{BuildPlan, cancelled, image::Image, output::Output, recipe::Work, users};
use crate::{
    blocking, clock,
    containerd::NewContainer,
    containers,
    error::{Error, Result},
    host::Host,
    jobs::JobHandle,
    restore::{ORIGIN_LABEL, SNAPSHOT_LABEL, folders},
    spec::{self, SpecPlan},
    transfer,
};

/// How long one step may take.
const STEP_LIMIT: Duration = Duration::from_secs(6 * 60 * 60);
/// How often a process is looked at.
const LOOK: Duration = Duration::from_millis(30);

/// The container.
#[derive(Debug)]
pub(super) struct Stage {
    host: Arc<Host>,
    record: ContainerRecord,
    config: ContainerConfig,
    /// True while it has a snapshot of containerd's instead of one of ours.
    is_image: bool,
}

impl Stage {
    /// A stage on a snapshot.
    pub(super) async fn over(
        host: &Arc<Host>,
        plan: &BuildPlan,
        ground: &SnapshotRecord,
    ) -> Result<Self> {
        let (store, id) = (host.store.clone(), ground.id);
        let manifest = blocking(move || store.manifest(&id)).await?;
        let Origin::Container(captured) = &manifest.origin else {
            let message = format!("Snapshot {id} holds a folder, not a container");
            return Err(ErrorReport::new(ErrorCode::Conflict, "not-a-container", message).into());
        };
        let stage = Self {
            host: Arc::clone(host),
            record: record(host, plan, Some(ground.id)),
            config: spec::runtime(captured)?,
            is_image: false,
        };
        host.catalogue.insert_container(&stage.record)?;
        match stage.stand(manifest.root_meta).await {
            Ok(()) => Ok(stage),
            Err(error) => {
                stage.end().await;
                Err(error)
            }
        }
    }

    /// A stage on an image, for the capture of its layers alone: nothing can be run in it.
    pub(super) async fn of_image(
        host: &Arc<Host>,
        plan: &BuildPlan,
        image: &Image,
    ) -> Result<Self> {
        let stage = Self {
            host: Arc::clone(host),
            record: record(host, plan, None),
            config: image.container(),
            is_image: true,
        };
        host.catalogue.insert_container(&stage.record)?;
        Ok(stage)
    }

    async fn stand(&self, root_meta: Meta) -> Result<()> {
        let folder = self.record.folder.clone();
        blocking(move || folders::make(&folder, &root_meta)).await?;
        containers::stand(&self.host, &self.record).await
    }

    /// Undoes it, later when it cannot be undone now.
    pub(super) async fn end(self) {
        containers::undo(&self.host, &self.record).await;
    }

    pub(super) fn host(&self) -> &Arc<Host> {
        &self.host
    }

    pub(super) fn id(&self) -> &str {
        &self.record.id
    }

    pub(super) fn log(&self) -> PathBuf {
        self.record.folder.join(folders::LOG)
    }

    pub(super) fn output(&self, job: &JobHandle) -> Output {
        Output::of(self.log(), job)
    }

    fn rootfs(&self) -> PathBuf {
        self.record.folder.join(folders::ROOTFS)
    }

    /// Does what a step says.
    pub(super) async fn perform(
        &self,
        plan: &BuildPlan,
        work: &Work,
        output: &mut Output,
        job: &JobHandle,
    ) -> Result<()> {
        if let Some(run) = &work.step.run {
            let user = work.step.user.as_deref().unwrap_or("0:0");
            let process = self.process(plan, Some(run.words()), Some(user)).await?;
            let status = self
                .run((process, plan.template.network), output, STEP_LIMIT, job)
                .await?;
            return match status {
                0 => Ok(()),
                status => {
                    Err(output
                        .failure("step-failed", format!("it ended with exit status {status}")))
                }
            };
        }
        let (from, to, exclude, expected) = self.transfer_of(plan, work)?;
        let (rootfs, job) = (self.rootfs(), job.clone());
        let owner = self.owner(work.step.user.as_deref()).await?;
        let copied =
            blocking(move || transfer::copy(&from, &exclude, (&rootfs, &to), owner, &job)).await?;
        match expected.is_none_or(|expected| expected == copied.digest) {
            true => Ok(()),
            false => {
                let message = "what it copies was changed meanwhile";
                Err(ErrorReport::new(ErrorCode::Conflict, "changed-meanwhile", message).into())
            }
        }
    }

    fn transfer_of(
        &self,
        plan: &BuildPlan,
        work: &Work,
    ) -> Result<(PathBuf, String, Exclude, Option<String>)> {
        if let Some(copy) = &work.step.copy {
            let exclude = Exclude::new(&copy.exclude)?;
            return Ok((
                PathBuf::from(&copy.from),
                copy.to.clone(),
                exclude,
                work.digest.clone(),
            ));
        }
        let source = plan.sources.get(&work.index);
        let folder = source.and_then(|source| source.folder.clone());
        match (&work.step.git, folder) {
            (Some(git), Some(folder)) => Ok((folder, git.to.clone(), Exclude::default(), None)),
            _ => {
                let message = "its repository was not cloned, because an earlier build had left its result, which is gone now";
                Err(ErrorReport::new(ErrorCode::Conflict, "no-source", message)
                    .hint("Build again")
                    .into())
            }
        }
    }

    async fn owner(&self, user: Option<&str>) -> Result<(u32, u32)> {
        match user {
            None => Ok((0, 0)),
            Some(user) => {
                let (rootfs, user) = (self.rootfs(), user.to_owned());
                blocking(move || users::resolve(&rootfs, &user)).await
            }
        }
    }

    /// A process as the template has it; with the base's own command and user where none is given.
    pub(super) async fn process(
        &self,
        plan: &BuildPlan,
        words: Option<Vec<String>>,
        user: Option<&str>,
    ) -> Result<Value> {
        let mut process = self.derive()?["process"].take();
        if let Some(words) = words {
            process["args"] = json!(words);
        }
        if let Some(folder) = &plan.template.workdir {
            process["cwd"] = json!(folder);
        }
        if let Some(user) = user {
            let (uid, gid) = self.owner(Some(user)).await?;
            process["user"] = json!({ "uid": uid, "gid": gid });
        }
        process["env"] = environment(&process["env"], &plan.template.env);
        Ok(process)
    }

    fn derive(&self) -> Result<Value> {
        let rootfs = match self.is_image {
            true => PathBuf::from(folders::ROOTFS),
            false => self.rootfs(),
        };
        let (spec, _) = spec::derive(&SpecPlan {
            captured: &self.config,
            namespace: self.record.namespace.as_str(),
            id: &self.record.id,
            rootfs: &rootfs,
            network: &NetworkChoice::None,
            keep_mounts: &[],
            drop_mounts: &[],
        })?;
        Ok(spec)
    }

    /// Makes the container with this process, without a task.
    pub(super) async fn dress(&self, process: Option<Value>, network: BuildNetwork) -> Result<()> {
        let mut spec = self.derive()?;
        if let Some(process) = process {
            spec["process"] = process;
        }
        if network == BuildNetwork::Host {
            join_network(&mut spec);
        }
        let mut labels = BTreeMap::from([(ORIGIN_LABEL.to_owned(), self.config.id.clone())]);
        if let Some(snapshot) = &self.record.snapshot {
            labels.insert(SNAPSHOT_LABEL.to_owned(), snapshot.to_string());
        }
        let (containerd, id) = (&self.host.containerd, self.id());
        let new = NewContainer {
            id,
            config: &self.config,
            spec: &spec,
            labels: &labels,
            snapshot_key: self.is_image.then_some(id),
        };
        let namespace = &self.record.namespace;
        containerd.create_container(namespace, &new).await?;
        if self.is_image {
            let (snapshotter, parent) = (&self.config.snapshotter, &self.config.parent);
            containerd
                .prepare_snapshot(namespace, snapshotter, id, parent)
                .await?;
        }
        Ok(())
    }

    /// Forgets the container; what was written in it stays. One on an image goes with its snapshot, at the stage's end.
    pub(super) async fn undress(&self) -> Result<()> {
        if self.is_image {
            return Ok(());
        }
        let (containerd, namespace, id) =
            (&self.host.containerd, &self.record.namespace, self.id());
        Ok(containerd.delete_container(namespace, id).await?)
    }

    /// Makes the container as it is to be captured: with what the template says of the containers made from it.
    pub(super) async fn dress_for_capture(&self, process: Option<Value>) -> Result<()> {
        self.dress(process, BuildNetwork::None).await
    }

    /// Starts the process that the container was made with.
    pub(super) async fn start(&self) -> Result<()> {
        containers::start_task(&self.host, &self.record, None).await
    }

    /// Runs a process to its end and returns its exit status.
    pub(super) async fn run(
        &self,
        (process, network): (Value, BuildNetwork),
        output: &mut Output,
        limit: Duration,
        job: &JobHandle,
    ) -> Result<u32> {
        self.dress(Some(process), network).await?;
        self.start().await.map_err(unstartable)?;
        let until = Instant::now() + limit;
        let status = loop {
            let (containerd, namespace) = (&self.host.containerd, &self.record.namespace);
            if let Some(status) = containerd.exit_status(namespace, self.id(), "").await? {
                break status;
            }
            output.pass_on()?;
            if job.is_cancelled() {
                return Err(cancelled());
            }
            if Instant::now() > until {
                let message = format!("it has not ended after {} seconds", limit.as_secs());
                return Err(output.failure("does-not-end", message));
            }
            tokio::time::sleep(LOOK).await;
        };
        // Its last words are in the log once the task is gone.
        let (containerd, namespace) = (&self.host.containerd, &self.record.namespace);
        containerd.delete_task(namespace, self.id()).await?;
        output.pass_on()?;
        self.undress().await?;
        Ok(status)
    }

    /// Whether the process that the container was started with has ended, and how.
    pub(super) async fn ended(&self) -> Result<Option<u32>> {
        let (containerd, namespace) = (&self.host.containerd, &self.record.namespace);
        Ok(containerd.exit_status(namespace, self.id(), "").await?)
    }

    /// Runs a further process beside the one that runs, until `until`; `None` when it had not ended then.
    pub(super) async fn beside(
        &self,
        exec: &str,
        process: &Value,
        until: Instant,
        job: &JobHandle,
    ) -> Result<Option<u32>> {
        let (containerd, namespace, id) =
            (&self.host.containerd, &self.record.namespace, self.id());
        containerd
            .exec(namespace, (id, exec), process, &self.log())
            .await?;
        let status = loop {
            let status = containerd.exit_status(namespace, id, exec).await?;
            if status.is_some() || Instant::now() > until || job.is_cancelled() {
                break status;
            }
            tokio::time::sleep(LOOK).await;
        };
        containerd
            .end_exec(namespace, id, exec, status.is_none())
            .await?;
        match job.is_cancelled() {
            true => Err(cancelled()),
            false => Ok(status),
        }
    }
}

/// What runc refuses to start is the template's affair, as a program that is not there; what is silent is not.
fn unstartable(error: Error) -> Error {
    let mut report = ErrorReport::from(error);
    if report.code == ErrorCode::Internal {
        report.code = ErrorCode::Conflict;
        "step-failed".clone_into(&mut report.reason);
    }
    report.into()
}

/// The network of the host, and what names in it are looked up with.
fn join_network(spec: &mut Value) {
    if let Some(namespaces) = spec["linux"]["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "network");
    }
    let Some(mounts) = spec["mounts"].as_array_mut() else {
        return;
    };
    for file in ["/etc/resolv.conf", "/etc/hosts"] {
        let is_there = mounts.iter().any(|mount| mount["destination"] == file);
        if !is_there && Path::new(file).exists() {
            mounts.push(json!({
                "destination": file, "type": "bind", "source": file, "options": ["rbind", "ro"],
            }));
        }
    }
}

/// The variables of the base, with those of the template in their place or behind them.
fn environment(base: &Value, own: &BTreeMap<String, String>) -> Value {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let base = base
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let kept = base.filter(|variable| !own.contains_key(&name(variable)));
    let own = own.iter().map(|(name, value)| format!("{name}={value}"));
    json!(kept.map(str::to_owned).chain(own).collect::<Vec<_>>())
}

fn record(host: &Host, plan: &BuildPlan, snapshot: Option<SnapshotId>) -> ContainerRecord {
    let random = SnapshotId::random().to_string();
    let id = format!("build-{}", &random[..12]);
    ContainerRecord {
        folder: containers::folder(host, &plan.namespace, &id),
        namespace: plan.namespace.clone(),
        id,
        snapshot,
        is_complete: false,
        created_at: clock::now(),
    }
}

/// The error of a step, with the step.
pub(super) fn in_step(work: &Work, count: usize, error: Error) -> Error {
    let mut report = ErrorReport::from(error);
    if report.code != ErrorCode::Cancelled {
        let (number, shown) = (work.index + 1, work.step.shown());
        report.message = format!("Step {number} of {count} ({shown}): {}", report.message);
    }
    report.into()
}

/// The error of a step that was only looked at.
pub(super) fn in_step_number(index: usize, error: Error) -> Error {
    let mut report = ErrorReport::from(error);
    report.message = format!("Step {}: {}", index + 1, report.message);
    report.into()
}
