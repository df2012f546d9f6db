//! Restored containers after their restore: list, start again, stop, remove, and noticing that somebody else removed them.
//!
//! What a container holds here (its overlay, its folder, its use of the snapshot) is released only when containerd
//! positively says that the container is gone. While containerd is silent everything is kept.

use std::{
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use snap_api::{ContainerView, ErrorCode, ErrorReport};
use snap_store::{ContainerRecord, Error as StoreError, Namespace};
use tokio::sync::Mutex;
use tracing::{debug, info, warn};

use crate::{
    attached, blocking, clock,
    containerd::{ContainerInfo, Images, NewTask, Task, TaskStatus},
    error::Result,
    events::Event,
    host::Host,
    restore::{ORIGIN_LABEL, folders},
};

const TERM: u32 = 15;
const KILL: u32 = 9;
/// How long a task may take to end after TERM.
const TERM_LIMIT: Duration = Duration::from_secs(10);
/// How long the kernel may take to end a killed task.
const KILL_LIMIT: Duration = Duration::from_secs(20);
/// How often a task that is to end is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Between two attempts to undo what could not be undone at once.
const UNDO_RETRY: Duration = Duration::from_secs(5);
/// Between two attempts to follow containerd's events.
const RECONNECT: Duration = Duration::from_secs(5);
/// An event may get lost while containerd restarts; this finds what it was about.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);

/// Sweeps take turns: two of them would release the same things.
static TURN: Mutex<()> = Mutex::const_new(());

/// What `container list` shows of one.
///
/// # Errors
/// When containerd answers, but not the question; while it is silent the status is `unknown`.
pub async fn view(host: &Host, record: &ContainerRecord) -> Result<ContainerView> {
    let containerd = &host.containerd;
    let task = match containerd.task_at_once(&record.namespace, &record.id).await {
        Ok(task) => task.map(|task| (task.status.as_str(), task.pid)),
        Err(fault) if fault.is_silence() => Some(("unknown", 0)),
        Err(fault) => return Err(fault.into()),
    };
    // A container without a task has been made, or has ended and been cleaned up after: it can be started either way.
    let attached = host.catalogue.attached(&record.namespace, &record.id)?;
    let (status, pid) = task.unwrap_or((TaskStatus::Stopped.as_str(), 0));
    Ok(ContainerView {
        id: record.id.clone(),
        namespace: record.namespace.to_string(),
        snapshot: record.snapshot.map(|snapshot| snapshot.to_string()),
        status: status.to_owned(),
        pid: (pid != 0 && status != TaskStatus::Stopped.as_str()).then_some(pid),
        created_at: clock::rfc3339(record.created_at),
        volumes: attached.iter().map(attached::view).collect(),
    })
}

/// Starts the task again, mounting what it stands on first.
///
/// # Errors
/// `already-running` when it runs or is paused.
pub async fn start(host: &Arc<Host>, namespace: &Namespace, id: &str) -> Result<ContainerView> {
    let record = known(host, namespace, id)?;
    match host.containerd.task(namespace, id).await? {
        Some(Task {
            status: TaskStatus::Created,
            ..
        }) => drop(host.containerd.start(namespace, id, Duration::ZERO).await?),
        Some(task) if task.status != TaskStatus::Stopped => {
            let message = format!("Container {id} is {} already", task.status.as_str());
            return Err(ErrorReport::new(ErrorCode::Conflict, "already-running", message).into());
        }
        _ => {
            let _turn = attached::turn(host, namespace, id).await;
            host.containerd.delete_task(namespace, id).await?;
            stand(host, &record).await?;
            start_task(host, &record, None).await?;
        }
    }
    info!(%namespace, container = id, "Started a restored container");
    tell(host, "start", &record);
    view(host, &record).await
}

/// Stops the task: TERM, then KILL after ten seconds.
///
/// # Errors
/// `not-running` when there is nothing to stop.
pub async fn stop(host: &Host, namespace: &Namespace, id: &str) -> Result<ContainerView> {
    let record = known(host, namespace, id)?;
    let task = host.containerd.task(namespace, id).await?;
    if task.is_none_or(|task| task.status == TaskStatus::Stopped) {
        return Err(crate::pause::not_running(id));
    }
    host.containerd.kill(namespace, id, TERM).await?;
    if !has_ended(host, &record, TERM_LIMIT).await? {
        end(host, &record).await?;
    }
    host.containerd.delete_task(namespace, id).await?;
    info!(%namespace, container = id, "Stopped a restored container");
    tell(host, "stop", &record);
    view(host, &record).await
}

/// Removes the container from containerd and releases what it held. A task that runs is killed.
///
/// # Errors
/// `NotFound` when it is none of this daemon's; everything is kept when containerd does not answer.
pub async fn remove(host: &Arc<Host>, namespace: &Namespace, id: &str) -> Result<ContainerView> {
    let record = known(host, namespace, id)?;
    let mut last = view(host, &record).await?;
    discard(host, &record).await?;
    info!(%namespace, container = id, "Removed a restored container");
    "removed".clone_into(&mut last.status);
    last.pid = None;
    Ok(last)
}

/// Releases what containers that containerd no longer knows have held. Run by events, at start and by the hour.
///
/// # Errors
/// When the catalogue cannot be read, or containerd is silent: nothing is released then.
pub async fn sweep(host: &Arc<Host>) -> Result<()> {
    let records = host.catalogue.containers()?;
    for record in records.iter().filter(|record| record.is_complete) {
        release_if_gone(host, record).await?;
    }
    Ok(())
}

/// Follows containerd's events for ever and sweeps when a container is deleted; connects again after containerd was away.
pub async fn follow_events(host: Arc<Host>) {
    loop {
        let mut events = host.containerd.subscribe();
        // What was deleted while nobody listened.
        tidy(sweep(&host).await);
        loop {
            match tokio::time::timeout(SWEEP_INTERVAL, events.next()).await {
                Ok(Some(event)) => {
                    let Ok(namespace) = event.namespace.parse::<Namespace>() else {
                        continue;
                    };
                    tidy(deleted(&host, &namespace, &event.container).await);
                }
                Ok(None) => break,
                Err(_) => tidy(sweep(&host).await),
            }
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

/// The folder of a restored container.
pub(crate) fn folder(host: &Host, namespace: &Namespace, id: &str) -> PathBuf {
    let all = host.config.root.join("containers");
    all.join(namespace.as_str()).join(id)
}

/// Mounts what the container stands on: the snapshot, and its overlay over it; and what is attached to it.
pub(crate) async fn stand(host: &Host, record: &ContainerRecord) -> Result<()> {
    if let Some(snapshot) = &record.snapshot {
        let lower = host.mounts.ensure(host, snapshot).await?;
        let folder = record.folder.clone();
        blocking(move || folders::ensure_mounted(&folder, &lower)).await?;
    }
    attached::stand(host, record).await
}

/// Makes the container's task and starts it; with images its processes go on from them.
pub(crate) async fn start_task(
    host: &Host,
    record: &ContainerRecord,
    images: Option<Images<'_>>,
) -> Result<()> {
    let (containerd, namespace, id) = (&host.containerd, &record.namespace, &record.id);
    let ContainerInfo {
        config,
        snapshot_key,
    } = containerd.container(namespace, id).await?;
    let rootfs = if snapshot_key.is_empty() {
        Vec::new()
    } else {
        containerd
            .snapshot_mounts(namespace, &config.snapshotter, &snapshot_key)
            .await?
    };
    let log = record.folder.join(folders::LOG);
    let longer = images.map_or(Duration::ZERO, |images| images.longer);
    // runc gives the host's null device for a pipe that is no more, and CRIU could not capture who holds that.
    let input = images.map(|_| record.folder.join(folders::INPUT));
    if let Some(input) = &input {
        folders::make_pipe(input)?;
    }
    let new = NewTask {
        rootfs: &rootfs,
        log: &log,
        input: input.as_deref(),
        options: images.map(|images| images.task_options(&config)),
    };
    containerd.create_task(namespace, id, new).await?;
    containerd.start(namespace, id, longer).await?;
    Ok(())
}

/// Takes the container out of containerd, if it is there and ours, and releases what it held.
pub(crate) async fn discard(host: &Arc<Host>, record: &ContainerRecord) -> Result<()> {
    let (containerd, namespace, id) = (&host.containerd, &record.namespace, &record.id);
    let found = containerd.find_container(namespace, id).await?;
    if let Some(info) = found.filter(is_ours) {
        if let Some(task) = containerd.task(namespace, id).await? {
            // One whose start failed, as when CRIU refuses its memory, does not end: it can only be deleted.
            let is_gone = task.status == TaskStatus::Created
                && containerd.delete_task(namespace, id).await.is_ok();
            if !is_gone {
                end(host, record).await?;
                containerd.delete_task(namespace, id).await?;
            }
        }
        containerd.delete_container(namespace, id).await?;
        if !info.snapshot_key.is_empty() {
            let snapshotter = &info.config.snapshotter;
            containerd
                .remove_snapshot(namespace, snapshotter, &info.snapshot_key)
                .await?;
        }
    }
    release(host, record).await
}

/// Undoes a container that is incomplete: now, or else as soon as it can be, while the daemon works on. A shim that is just having CRIU make
/// processes answers nobody until they are there, and they must not stay.
pub(crate) async fn undo(host: &Arc<Host>, record: &ContainerRecord) {
    let Err(error) = discard(host, record).await else {
        return;
    };
    let error: &dyn std::error::Error = &error;
    warn!(
        container = record.id,
        error, "Cannot undo a container yet, it is tried again"
    );
    tokio::spawn(undo_again(Arc::downgrade(host), record.clone()));
}

/// Ends with the daemon, which is not kept from it: the next start undoes what is left. Who has the id by then is another's.
async fn undo_again(host: Weak<Host>, record: ContainerRecord) {
    loop {
        tokio::time::sleep(UNDO_RETRY).await;
        let Some(host) = host.upgrade() else { return };
        match host.catalogue.container(&record.namespace, &record.id) {
            Ok(found) if found == record => {}
            Ok(_) | Err(StoreError::NotFound { .. }) => return,
            Err(_) => continue,
        }
        match discard(&host, &record).await {
            Ok(()) => break,
            Err(error) => debug!(container = record.id, %error, "Cannot undo a container yet"),
        }
    }
    info!(namespace = %record.namespace, container = record.id, "Undid a container");
}

fn tell(host: &Host, action: &'static str, record: &ContainerRecord) {
    let event = Event::new(action, &record.id).of(&record.namespace);
    host.events.tell(event.about(record.snapshot));
}

/// True for a container this daemon has made; another of the same id is somebody else's.
pub(crate) fn is_ours(info: &ContainerInfo) -> bool {
    info.config.labels.contains_key(ORIGIN_LABEL)
}

async fn release_if_gone(host: &Arc<Host>, record: &ContainerRecord) -> Result<()> {
    let found = host
        .containerd
        .find_container(&record.namespace, &record.id)
        .await?;
    if found.as_ref().is_some_and(is_ours) {
        return Ok(());
    }
    info!(namespace = %record.namespace, container = record.id, "A restored container is gone from containerd");
    release(host, record).await
}

async fn deleted(host: &Arc<Host>, namespace: &Namespace, id: &str) -> Result<()> {
    match host.catalogue.container(namespace, id) {
        Ok(record) if record.is_complete => release_if_gone(host, &record).await,
        Ok(_) | Err(StoreError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Lets go of everything that is held for the container. May be done twice.
async fn release(host: &Arc<Host>, record: &ContainerRecord) -> Result<()> {
    // What it has written may be about to be committed, or what it stands on to be exchanged.
    let _own = attached::turn(host, &record.namespace, &record.id).await;
    let _turn = TURN.lock().await;
    if is_anothers(host, record)? {
        return Ok(());
    }
    let attached = host.catalogue.attached(&record.namespace, &record.id)?;
    let folder = record.folder.clone();
    blocking(move || {
        attached::unmount_all(&folder)?;
        folders::remove(&folder)
    })
    .await?;
    let (catalogue, gone) = (Arc::clone(&host.catalogue), record.clone());
    let forget = move || Ok(catalogue.remove_container(&gone.namespace, &gone.id, clock::now()));
    match blocking::<_, StoreError>(forget).await? {
        // Whoever comes first, of the one who removes it and the one who sees that it is gone.
        Ok(()) if record.is_complete => tell(host, "remove-container", record),
        Ok(()) | Err(StoreError::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let grounds = attached.iter().map(|one| &one.ground);
    for snapshot in record.snapshot.iter().chain(grounds) {
        host.mounts.release(host, snapshot).await?;
    }
    Ok(())
}

/// Whether a container that was made since has the id. What was released by whoever came first is nobody's, and goes once more.
fn is_anothers(host: &Host, record: &ContainerRecord) -> Result<bool> {
    match host.catalogue.container(&record.namespace, &record.id) {
        Ok(found) => {
            Ok((found.created_at, found.is_complete) != (record.created_at, record.is_complete))
        }
        Err(StoreError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Kills the task and waits until it has ended.
async fn end(host: &Host, record: &ContainerRecord) -> Result<()> {
    let (containerd, namespace, id) = (&host.containerd, &record.namespace, &record.id);
    let task = containerd.task(namespace, id).await?;
    if let Err(fault) = containerd.kill(namespace, id, KILL).await {
        // It may have ended in this very moment; whether it did is what counts.
        debug!(container = id, %fault, "Cannot kill the task");
    }
    if task.is_some_and(|task| task.status == TaskStatus::Paused) {
        drop(containerd.resume(namespace, id).await);
    }
    if has_ended(host, record, KILL_LIMIT).await? {
        return Ok(());
    }
    let message = format!("Container {id} was killed but has not ended");
    Err(ErrorReport::new(ErrorCode::TimedOut, "does-not-end", message).into())
}

async fn has_ended(host: &Host, record: &ContainerRecord, limit: Duration) -> Result<bool> {
    let ended = async {
        loop {
            let task = host.containerd.task(&record.namespace, &record.id).await?;
            if task.is_none_or(|task| task.status == TaskStatus::Stopped) {
                return Ok(true);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(limit, ended)
        .await
        .unwrap_or(Ok(false))
}

/// The record of a container this daemon has restored, completely.
fn known(host: &Host, namespace: &Namespace, id: &str) -> Result<ContainerRecord> {
    match host.catalogue.container(namespace, id) {
        Ok(record) if record.is_complete => Ok(record),
        Ok(_) => {
            let message = format!("Container {id} is still being restored");
            Err(ErrorReport::new(ErrorCode::Conflict, "being-restored", message).into())
        }
        Err(StoreError::NotFound { .. }) => {
            let message = format!("No restored container {id} was found in namespace {namespace}");
            Err(
                ErrorReport::new(ErrorCode::NotFound, "container-not-found", message)
                    .hint("List them with `snapctl container list`")
                    .into(),
            )
        }
        Err(error) => Err(error.into()),
    }
}

/// Upkeep has nobody to answer to.
fn tidy(done: Result<()>) {
    if let Err(error) = done {
        let error: &dyn std::error::Error = &error;
        warn!(error, "Cannot look after restored containers now");
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::fixture;

    fn record(host: &Host, created_at: i64) -> ContainerRecord {
        let namespace: Namespace = "default".parse().unwrap();
        ContainerRecord {
            folder: folder(host, &namespace, "web"),
            namespace,
            id: "web".to_owned(),
            snapshot: None,
            is_complete: true,
            created_at,
        }
    }

    /// Whoever saw late that a container was gone removed the folder of the next one of that id.
    #[tokio::test]
    async fn a_container_that_has_the_id_of_one_that_is_gone_keeps_its_files() {
        let (host, _folder) = fixture::host(|_| {});
        let (gone, next) = (record(&host, 1), record(&host, 2));
        host.catalogue.insert_container(&next).unwrap();
        fs::create_dir_all(&next.folder).unwrap();
        release(&host, &gone).await.unwrap();
        assert!(next.folder.exists());
        release(&host, &next).await.unwrap();
        assert!(!next.folder.exists());
        release(&host, &next).await.unwrap();
    }

    /// While what it had written was read for a commit, a container's folder was removed, and half of it became the next version.
    #[tokio::test]
    async fn nothing_of_a_container_goes_during_its_turn() {
        let (host, _folder) = fixture::host(|_| {});
        let record = record(&host, 1);
        host.catalogue.insert_container(&record).unwrap();
        fs::create_dir_all(&record.folder).unwrap();
        let turn = attached::turn(&host, &record.namespace, "web").await;
        let mut releasing = Box::pin(release(&host, &record));
        let soon = Duration::from_millis(200);
        assert!(tokio::time::timeout(soon, &mut releasing).await.is_err());
        assert!(record.folder.exists());
        drop(turn);
        releasing.await.unwrap();
        assert!(!record.folder.exists());
    }
}
