//! containerd, as the recipes see it: containers, tasks, snapshots, events.
//!
//! Every request carries its namespace, every call ends within a limit, and every refusal becomes a [`Fault`] that
//! says what can be done. Nothing here decides anything: the recipes do.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use containerd_client::{
    services::v1::{
        Container, CreateContainerRequest, DeleteContainerRequest, GetContainerRequest,
        GetImageRequest, ListContainersRequest, ListNamespacesRequest, container::Runtime,
        containers_client::ContainersClient, images_client::ImagesClient,
        namespaces_client::NamespacesClient, version_client::VersionClient,
    },
    tonic::{Code, Request, Response, Status, transport::Channel},
};
use prost_types::Any;
use snap_store::{ContainerConfig, Namespace};
use tokio::sync::OnceCell;

pub use checkpoint::Images;
pub(crate) use content::sha256;
pub use events::{Event, Events, TaskEnd, TaskEvent};
pub use exec::NewProcess;
pub use fault::Fault;
pub use snapshots::{Mount, SnapshotInfo};
pub use tasks::{Ended, NewTask, Task, TaskStatus};

mod checkpoint;
mod content;
mod events;
mod exec;
mod fault;
mod processes;
mod snapshots;
mod tasks;

/// containerd answers look-ups in milliseconds; what takes longer is stuck.
const READ_LIMIT: Duration = Duration::from_secs(10);
/// Creating, starting and deleting wait for runc, which a busy host may slow down a lot.
const CHANGE_LIMIT: Duration = Duration::from_secs(60);
/// containerd's own limit on a message; tonic's default of 4 MiB is too small for a long list of containers.
const MAX_MESSAGE_BYTES: usize = 16 << 20;
/// Type of the spec in a container, as containerd's own clients write it.
const SPEC_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

/// A connection that is made when it is first needed and made again after containerd was away.
#[derive(Clone, Debug)]
pub struct Containerd {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// Connects again by itself once it has been connected.
    channel: OnceCell<Channel>,
}

/// A container, as containerd has it.
#[derive(Clone, Debug)]
pub struct ContainerInfo {
    /// Everything needed to make it again, apart from its parent snapshot.
    pub config: ContainerConfig,
    /// Key of its writable snapshot; empty when it has none.
    pub snapshot_key: String,
}

/// A container to be made.
#[derive(Clone, Debug)]
pub struct NewContainer<'a> {
    /// Its id.
    pub id: &'a str,
    /// Where image, runtime and snapshotter come from.
    pub config: &'a ContainerConfig,
    /// Its spec.
    pub spec: &'a serde_json::Value,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Key of its writable snapshot; `None` when its root is a folder of the host.
    pub snapshot_key: Option<&'a str>,
}

impl Containerd {
    /// A connection to the socket at `path`; nothing is tried yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            inner: Arc::new(Inner {
                path: path.to_owned(),
                channel: OnceCell::new(),
            }),
        }
    }

    /// containerd's version.
    pub async fn version(&self) -> crate::Result<String> {
        let mut client = VersionClient::new(self.channel().await?);
        let asked = client.version(());
        let answer = self.within("ask for the version of", "containerd", READ_LIMIT, asked);
        Ok(answer.await?.version)
    }

    /// One container.
    pub async fn container(&self, namespace: &Namespace, id: &str) -> Result<ContainerInfo, Fault> {
        let mut client = self.containers().await?;
        let request = GetContainerRequest { id: id.to_owned() };
        let asked = client.get(in_namespace(namespace, request));
        let answer = self.within("look up container", id, READ_LIMIT, asked);
        let container = answer.await?.container;
        ContainerInfo::read(container.ok_or_else(|| Fault::absent("look up container", id))?)
    }

    /// The same, with `None` when containerd positively says that there is no such container.
    pub async fn find_container(
        &self,
        namespace: &Namespace,
        id: &str,
    ) -> Result<Option<ContainerInfo>, Fault> {
        Fault::absent_as_none(self.container(namespace, id).await)
    }

    /// Ids of all containers of the namespace.
    pub async fn container_ids(&self, namespace: &Namespace) -> Result<Vec<String>, Fault> {
        let mut client = self.containers().await?;
        let asked = client.list(in_namespace(namespace, ListContainersRequest::default()));
        let answer = self.within("list containers of", namespace.as_str(), READ_LIMIT, asked);
        let containers = answer.await?.containers;
        Ok(containers.into_iter().map(|found| found.id).collect())
    }

    /// Labels of all containers of every namespace, by namespace and id.
    pub async fn labels(
        &self,
    ) -> Result<BTreeMap<(Namespace, String), BTreeMap<String, String>>, Fault> {
        let mut client = NamespacesClient::new(self.channel().await?);
        let asked = client.list(Request::new(ListNamespacesRequest::default()));
        let answer = self.within("list", "namespaces", READ_LIMIT, asked).await?;
        let mut found = BTreeMap::new();
        let names = answer.namespaces.into_iter().map(|one| one.name);
        for namespace in names.filter_map(|name| name.parse::<Namespace>().ok()) {
            let mut client = self.containers().await?;
            let asked = client.list(in_namespace(&namespace, ListContainersRequest::default()));
            let answer = self.within("list containers of", namespace.as_str(), READ_LIMIT, asked);
            for one in answer.await?.containers {
                let labels = one.labels.into_iter().collect();
                found.insert((namespace.clone(), one.id), labels);
            }
        }
        Ok(found)
    }

    /// Makes a container, without a task.
    pub async fn create_container(
        &self,
        namespace: &Namespace,
        new: &NewContainer<'_>,
    ) -> Result<(), Fault> {
        let mut client = self.containers().await?;
        let request = CreateContainerRequest {
            container: Some(new.to_message()),
        };
        let asked = client.create(in_namespace(namespace, request));
        let answer = self.within("create container", new.id, CHANGE_LIMIT, asked);
        answer.await.map(drop)
    }

    /// Deletes a container; no error when there is none.
    pub async fn delete_container(&self, namespace: &Namespace, id: &str) -> Result<(), Fault> {
        let mut client = self.containers().await?;
        let request = DeleteContainerRequest { id: id.to_owned() };
        let asked = client.delete(in_namespace(namespace, request));
        let answer = self.within("delete container", id, CHANGE_LIMIT, asked);
        Fault::absent_as_none(answer.await).map(drop)
    }

    /// True when the namespace has an image of that name.
    pub async fn has_image(&self, namespace: &Namespace, name: &str) -> Result<bool, Fault> {
        let channel = self.channel().await?;
        let mut client = ImagesClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let request = GetImageRequest {
            name: name.to_owned(),
        };
        let asked = client.get(in_namespace(namespace, request));
        let answer = self.within("look up image", name, READ_LIMIT, asked);
        Ok(Fault::absent_as_none(answer.await)?.is_some())
    }

    async fn containers(&self) -> Result<ContainersClient<Channel>, Fault> {
        let client = ContainersClient::new(self.channel().await?);
        Ok(client.max_decoding_message_size(MAX_MESSAGE_BYTES))
    }

    async fn channel(&self) -> Result<Channel, Fault> {
        let path = &self.inner.path;
        let away = |why: String| Fault::Unavailable {
            path: path.clone(),
            why,
        };
        let connect = async {
            let connecting = tokio::time::timeout(READ_LIMIT, containerd_client::connect(path));
            let connected = connecting
                .await
                .map_err(|_| away("it does not answer".to_owned()))?;
            connected.map_err(|error| away(innermost(&error)))
        };
        self.inner
            .channel
            .get_or_try_init(|| connect)
            .await
            .cloned()
    }

    /// Waits for an answer, but not for ever, and says what became of it.
    async fn within<T>(
        &self,
        op: &'static str,
        name: &str,
        limit: Duration,
        asked: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Fault> {
        let Ok(answer) = tokio::time::timeout(limit, asked).await else {
            return Err(Fault::TimedOut {
                op,
                name: name.to_owned(),
                limit,
            });
        };
        answer.map(Response::into_inner).map_err(|status| {
            let name = name.to_owned();
            let why = status.message().to_owned();
            match status.code() {
                Code::NotFound => Fault::NotFound { op, name, why },
                Code::AlreadyExists => Fault::Exists { op, name, why },
                code if code == Code::Unavailable || is_of_the_connection(&status) => {
                    Fault::Unavailable {
                        path: self.inner.path.clone(),
                        why: innermost(&status),
                    }
                }
                _ => Fault::Refused { op, name, why },
            }
        })
    }
}

/// True when the connection broke: what containerd itself says comes without a source.
fn is_of_the_connection(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

impl ContainerInfo {
    fn read(container: Container) -> Result<Self, Fault> {
        let refused = |why: String| Fault::Refused {
            op: "read the spec of container",
            name: container.id.clone(),
            why,
        };
        let spec = container.spec.as_ref().map_or(&[][..], |spec| &spec.value);
        let spec = serde_json::from_slice(spec).map_err(|error| refused(error.to_string()))?;
        let runtime = container.runtime.unwrap_or_default();
        let options = runtime.options.unwrap_or_default();
        Ok(Self {
            config: ContainerConfig {
                id: container.id,
                image: container.image,
                snapshotter: container.snapshotter,
                parent: String::new(),
                runtime: runtime.name,
                runtime_options_type: options.type_url,
                runtime_options: options.value,
                spec,
                labels: container.labels.into_iter().collect(),
                included_mounts: Vec::new(),
            },
            snapshot_key: container.snapshot_key,
        })
    }
}

impl NewContainer<'_> {
    fn to_message(&self) -> Container {
        let config = self.config;
        let options = (!config.runtime_options_type.is_empty()).then(|| Any {
            type_url: config.runtime_options_type.clone(),
            value: config.runtime_options.clone(),
        });
        Container {
            id: self.id.to_owned(),
            labels: HashMap::from_iter(self.labels.clone()),
            image: config.image.clone(),
            runtime: Some(Runtime {
                name: config.runtime.clone(),
                options,
            }),
            spec: Some(Any {
                type_url: SPEC_TYPE.to_owned(),
                value: self.spec.to_string().into_bytes(),
            }),
            snapshotter: self
                .snapshot_key
                .map_or_else(String::new, |_| config.snapshotter.clone()),
            snapshot_key: self.snapshot_key.unwrap_or_default().to_owned(),
            ..Container::default()
        }
    }
}

/// The request, in its namespace.
fn in_namespace<T>(namespace: &Namespace, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = namespace.as_str().parse();
    let value = value.expect("a namespace is letters, digits and `._-`");
    request.metadata_mut().insert("containerd-namespace", value);
    request
}

/// The last of a chain of sources: tonic wraps the system's words in several layers of "transport error".
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
