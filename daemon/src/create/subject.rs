//! What a create request is about: a container and where its files are, a folder of it, or a folder of the host.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use snap_api::{ErrorCode, ErrorReport, MemoryWish};
use snap_store::{ContainerConfig, Error as StoreError, Namespace, Origin, SnapshotId};

use super::{
    CreatePlan, CreateSource, LayerSource, MergeSource,
    folders::{self, Layer},
    place,
    rest::Rest,
    usage,
};
use crate::{
    attached,
    containerd::{ContainerInfo, Fault, Mount, TaskStatus},
    error::Result,
    host::Host,
    pause::not_running,
    spec::SpecMount,
};

/// How long a killed task may take to be gone, and how often it is looked at.
const END_LIMIT: Duration = Duration::from_secs(10);
const END_LOOK: Duration = Duration::from_millis(50);

/// What is captured, and what there is to say about it.
#[derive(Debug)]
pub(super) struct Subject {
    /// The container or the folder, for people.
    pub(super) source: String,
    /// Names the source among all sources: what is remembered of its files is kept under it.
    pub(super) key: String,
    /// The container's configuration; `None` for a folder.
    pub(super) config: Option<ContainerConfig>,
    /// Where its files are.
    pub(super) root: Root,
    /// The part of them that is wanted, from their root on; `/` for all.
    pub(super) top: PathBuf,
    /// Bind mounts whose content is captured with it.
    pub(super) included: Vec<SpecMount>,
    /// Things worth knowing that do not stop the capture.
    pub(super) warnings: Vec<String>,
    /// How it was found, when it is read without a pause because nothing runs in it.
    rest: Option<Rest>,
}

/// Where the files of a subject are.
#[derive(Debug)]
pub(super) enum Root {
    /// One folder holds all of them.
    Folder(PathBuf),
    /// A writable layer over layers that do not change.
    Overlay {
        /// The writable layer.
        upper: PathBuf,
        /// The layers below it, the lowest first.
        layers: Vec<Layer>,
    },
    /// The writable layer of a restored container over the snapshot it stands on.
    Restored {
        /// The writable layer.
        upper: PathBuf,
        /// The snapshot.
        snapshot: SnapshotId,
    },
    /// A file system that has to be mounted first.
    Foreign(Mount),
    /// Trees of snapshots: there are no files to read.
    Trees(MergeSource),
}

impl Subject {
    /// Looks, and changes nothing.
    pub(super) async fn inspect(host: &Host, plan: &CreatePlan) -> Result<Self> {
        match &plan.source {
            CreateSource::Path(path) => Self::folder(host, plan, path),
            CreateSource::Container(id) => {
                let info = running(host, plan, id).await?;
                Self::container(host, plan, info, Path::new("/")).await
            }
            CreateSource::Folder { container, path } => {
                let info = running(host, plan, container).await?;
                Self::folder_of_container(host, plan, info, path).await
            }
            CreateSource::AtRest(id) => {
                let rest = Rest::find(host, &plan.namespace, id).await?;
                let info = host.containerd.container(&plan.namespace, id).await;
                let info = info.map_err(|fault| unknown_container(fault, &plan.namespace, id))?;
                let subject = Self::container(host, plan, info, Path::new("/")).await?;
                Ok(Self {
                    rest: Some(rest),
                    ..subject
                })
            }
            CreateSource::Layer(layer) => Ok(Self::layer(layer)),
            CreateSource::Merge(trees) => {
                let root = Root::Trees(trees.clone());
                Ok(Self::of(trees.source.clone(), String::new(), root))
            }
        }
    }

    /// Once it is read: it was at rest all the while, where it had to be.
    pub(super) async fn require_rest(&self, host: &Host, namespace: &Namespace) -> Result<()> {
        match self.rest {
            Some(rest) => rest.require(host, namespace, &self.source).await,
            None => Ok(()),
        }
    }

    fn layer(layer: &LayerSource) -> Self {
        let upper = layer.upper.clone();
        let key = format!("layer {}", upper.display());
        let root = match layer.over {
            Some(snapshot) => Root::Restored { upper, snapshot },
            None => Root::Folder(upper),
        };
        Self::of(layer.source.clone(), key, root)
    }

    fn of(source: String, key: String, root: Root) -> Self {
        Self {
            source,
            key,
            config: None,
            root,
            top: PathBuf::from("/"),
            included: Vec::new(),
            warnings: Vec::new(),
            rest: None,
        }
    }

    fn folder(host: &Host, plan: &CreatePlan, path: &Path) -> Result<Self> {
        let wants_memory = plan.memory != MemoryWish::None;
        if !plan.include_mounts.is_empty() || plan.stop || wants_memory {
            let message =
                "A folder has no task to stop, no memory to capture and no bind mounts to include";
            return Err(usage("folder-options", message.to_owned()));
        }
        if !path.is_absolute() {
            let message = format!("{} is not an absolute path", path.display());
            return Err(usage("relative-path", message));
        }
        let canonical = match path.canonicalize() {
            Ok(canonical) => canonical,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let message = format!("Folder {} was not found", path.display());
                return Err(
                    ErrorReport::new(ErrorCode::NotFound, "path-not-found", message).into(),
                );
            }
            Err(error) => return Err(StoreError::io("open", path)(error).into()),
        };
        if !canonical.is_dir() {
            return Err(usage(
                "not-a-folder",
                format!("{} is not a folder", path.display()),
            ));
        }
        if host.config.root.starts_with(&canonical) {
            let message = format!("{} holds the store itself", path.display());
            return Err(usage("holds-the-store", message));
        }
        let key = format!("path {canonical:?}");
        Ok(Self::of(
            path.display().to_string(),
            key,
            Root::Folder(canonical),
        ))
    }

    /// A folder of a container, which is a folder from then on.
    async fn folder_of_container(
        host: &Host,
        plan: &CreatePlan,
        info: ContainerInfo,
        path: &Path,
    ) -> Result<Self> {
        if plan.stop || plan.memory != MemoryWish::None {
            let message =
                "With a folder of a container neither its memory is captured nor its task stopped";
            return Err(usage("folder-options", message.to_owned()));
        }
        let mounts = SpecMount::read_all(&info.config.spec)?;
        let id = info.config.id.clone();
        let of = (&plan.namespace, &*id);
        let top = place::find(host, of, path, (&mounts, &plan.include_mounts)).await?;
        let mut subject = Self::container(host, plan, info, &top).await?;
        subject.config = None;
        subject.source = format!("{id}:{}", path.display());
        subject.key = format!("{} below {top:?}", subject.key);
        subject.top = top;
        Ok(subject)
    }

    /// A container; bind mounts that do not concern `top` are passed over.
    async fn container(
        host: &Host,
        plan: &CreatePlan,
        info: ContainerInfo,
        top: &Path,
    ) -> Result<Self> {
        let namespace = &plan.namespace;
        let ContainerInfo {
            mut config,
            snapshot_key,
        } = info;
        let told = attached::leave_out(host, namespace, &mut config)?;
        let (included, mut warnings) = choose_mounts(&config, &plan.include_mounts, top)?;
        warnings.extend(told);
        let root = if snapshot_key.is_empty() {
            without_snapshot(host, plan, &mut config)?
        } else {
            folders::of_snapshot(host, namespace, &mut config, &snapshot_key).await?
        };
        config.included_mounts = included
            .iter()
            .map(|mount| mount.destination.clone())
            .collect();
        Ok(Self {
            source: config.id.clone(),
            key: format!(
                "container {namespace} {} {snapshot_key} {}",
                config.snapshotter, config.id
            ),
            config: Some(config),
            root,
            top: PathBuf::from("/"),
            included,
            warnings,
            rest: None,
        })
    }
}

/// The container, which has to run. Asked for with its task at once: containerd asks the shim for that one.
async fn running(host: &Host, plan: &CreatePlan, id: &str) -> Result<ContainerInfo> {
    let (namespace, containerd) = (&plan.namespace, &host.containerd);
    let (info, task) = tokio::join!(
        containerd.container(namespace, id),
        containerd.task(namespace, id)
    );
    let info = info.map_err(|fault| unknown_container(fault, namespace, id))?;
    let runs = |status| matches!(status, TaskStatus::Running | TaskStatus::Paused);
    match task?.is_some_and(|task| runs(task.status)) {
        true => Ok(info),
        false => Err(not_running(id)),
    }
}

/// Waits until the killed task has ended.
pub(super) async fn wait_for_the_end(host: &Host, plan: &CreatePlan) -> Result<()> {
    let CreateSource::Container(id) = &plan.source else {
        return Ok(());
    };
    let ended = async {
        while let Some(task) = host.containerd.task(&plan.namespace, id).await? {
            match task.status {
                TaskStatus::Stopped => break,
                // Its user had paused it, and on some hosts a frozen process does not even die.
                TaskStatus::Paused => drop(host.containerd.resume(&plan.namespace, id).await),
                _ => {}
            }
            tokio::time::sleep(END_LOOK).await;
        }
        Ok(())
    };
    tokio::time::timeout(END_LIMIT, ended)
        .await
        .unwrap_or_else(|_| {
            let message = format!("Container {id} was killed but has not ended");
            Err(ErrorReport::new(ErrorCode::TimedOut, "does-not-end", message).into())
        })
}

/// A container without a snapshot of containerd's: one of ours, or one whose root is a folder of the host.
fn without_snapshot(host: &Host, plan: &CreatePlan, config: &mut ContainerConfig) -> Result<Root> {
    let record = match host.catalogue.container(&plan.namespace, &config.id) {
        Ok(record) => Some(record),
        Err(StoreError::NotFound { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    if let Some((record, snapshot)) =
        record.and_then(|record| Some((record.clone(), record.snapshot?)))
    {
        // What a fresh container would be made from is still the image of the first original.
        if let Origin::Container(origin) = host.store.manifest(&snapshot)?.origin {
            config.parent = origin.parent;
            config.snapshotter = origin.snapshotter;
        }
        // The snapshot below is taken over whole, so exclusions need the merged view.
        return Ok(if plan.exclude.is_empty() {
            let upper = record.folder.join("upper");
            Root::Restored { upper, snapshot }
        } else {
            Root::Folder(record.folder.join("rootfs"))
        });
    }
    let path = config
        .spec
        .pointer("/root/path")
        .and_then(|path| path.as_str());
    match path.map(PathBuf::from) {
        Some(path) if path.is_absolute() => Ok(Root::Folder(path)),
        _ => {
            let message = format!(
                "Container {} has no root file system on this host",
                config.id
            );
            Err(ErrorReport::new(ErrorCode::Conflict, "no-root", message).into())
        }
    }
}

/// Bind mounts that are included, and a word on those that are not. Those that lie neither below `top` nor above it have nothing to do
/// with it.
fn choose_mounts(
    config: &ContainerConfig,
    include: &[String],
    top: &Path,
) -> Result<(Vec<SpecMount>, Vec<String>)> {
    let concerns = |mount: &SpecMount| {
        let destination = Path::new(&mount.destination);
        destination.starts_with(top) || top.starts_with(destination)
    };
    let mounts = SpecMount::read_all(&config.spec)?.into_iter();
    let mut binds: Vec<_> = mounts
        .filter(|mount| mount.is_bind() && concerns(mount))
        .collect();
    let unknown = include
        .iter()
        .find(|wanted| !binds.iter().any(|bind| bind.is_at(wanted)));
    if let Some(unknown) = unknown {
        let known: Vec<_> = binds.iter().map(|bind| bind.destination.as_str()).collect();
        let known = if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(", ")
        };
        let place = match top == Path::new("/") {
            true => String::new(),
            false => format!(" that concerns {}", top.display()),
        };
        let message = format!(
            "Container {} has no bind mount at {unknown}{place}; it has: {known}",
            config.id
        );
        return Err(usage("unknown-mount", message));
    }
    let included: Vec<_> = binds
        .extract_if(.., |bind| include.iter().any(|wanted| bind.is_at(wanted)))
        .collect();
    if let Some(file) = included
        .iter()
        .find(|mount| !PathBuf::from(&mount.source).is_dir())
    {
        let message = format!(
            "The bind mount at {} is not a folder; only folders can be included",
            file.destination
        );
        return Err(usage("not-a-folder", message));
    }
    let warnings = binds
        .iter()
        .filter(|bind| !bind.has_system_destination() && !bind.has_system_source())
        .map(|bind| {
            format!(
                "The bind mount at {} is not part of the snapshot",
                bind.destination
            )
        })
        .collect();
    Ok((included, warnings))
}

fn unknown_container(fault: Fault, namespace: &Namespace, id: &str) -> crate::Error {
    if !matches!(fault, Fault::NotFound { .. }) {
        return fault.into();
    }
    let message = format!("Container {id} was not found in namespace {namespace}");
    ErrorReport::new(ErrorCode::NotFound, "container-not-found", message)
        .hint("List the containers of a namespace with `ctr --namespace NAMESPACE containers list`")
        .into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config() -> ContainerConfig {
        ContainerConfig {
            id: "web".to_owned(),
            image: String::new(),
            snapshotter: "overlayfs".to_owned(),
            parent: String::new(),
            runtime: "io.containerd.runc.v2".to_owned(),
            runtime_options_type: String::new(),
            runtime_options: Vec::new(),
            spec: json!({ "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/etc/hosts", "type": "bind", "source": "/run/x/hosts"},
                {"destination": "/data", "type": "bind", "source": "/tmp"},
                {"destination": "/key", "type": "bind", "source": "/etc/passwd"},
            ]}),
            labels: std::collections::BTreeMap::new(),
            included_mounts: Vec::new(),
        }
    }

    #[test]
    fn only_data_that_is_left_out_is_warned_of() {
        let (included, warnings) =
            choose_mounts(&config(), &["/data/".to_owned()], Path::new("/")).unwrap();
        assert_eq!(included[0].source, "/tmp");
        assert_eq!(
            warnings,
            ["The bind mount at /key is not part of the snapshot"]
        );
    }

    #[test]
    fn of_a_folder_only_its_own_mounts_count() {
        let (included, warnings) = choose_mounts(&config(), &[], Path::new("/etc")).unwrap();
        assert!(included.is_empty() && warnings.is_empty(), "{warnings:?}");
        let (_, warnings) = choose_mounts(&config(), &[], Path::new("/data/x")).unwrap();
        assert_eq!(warnings.len(), 1);
        let include = ["/data".to_owned()];
        choose_mounts(&config(), &include, Path::new("/data/x")).unwrap();
        choose_mounts(&config(), &include, Path::new("/etc")).unwrap_err();
    }

    #[test]
    fn an_unknown_mount_is_refused_with_those_that_exist() {
        let error = choose_mounts(&config(), &["/proc".to_owned()], Path::new("/")).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("it has: /etc/hosts, /data, /key"),
            "{error}"
        );
        let error = choose_mounts(&config(), &["/key".to_owned()], Path::new("/")).unwrap_err();
        assert!(error.to_string().contains("is not a folder"), "{error}");
    }
}
