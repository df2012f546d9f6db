//! Snapshots, in containerd's sense: the layers below a container and the writable one on top.

use containerd_client::{
    services::v1::snapshots::{
        MountsRequest, PrepareSnapshotRequest, RemoveSnapshotRequest, StatSnapshotRequest,
        snapshots_client::SnapshotsClient,
    },
    tonic::transport::Channel,
    types,
};
use snap_store::Namespace;

use super::{CHANGE_LIMIT, Containerd, Fault, READ_LIMIT, in_namespace};

/// How a snapshotter wants a snapshot mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// `overlay`, `bind`, or a file system's name.
    pub kind: String,
    /// What is mounted.
    pub source: String,
    /// Options as mount(8) has them.
    pub options: Vec<String>,
}

/// What containerd knows of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Key of the committed snapshot below it; empty for the lowest.
    pub parent: String,
    /// When it was made: a key that is used again has another time.
    pub created_at: String,
}

impl Containerd {
    /// How the snapshot is mounted.
    pub async fn snapshot_mounts(
        &self,
        namespace: &Namespace,
        snapshotter: &str,
        key: &str,
    ) -> Result<Vec<Mount>, Fault> {
        let mut client = self.snapshots().await?;
        let request = MountsRequest {
            snapshotter: snapshotter.to_owned(),
            key: key.to_owned(),
        };
        let asked = client.mounts(in_namespace(namespace, request));
        let answer = self.within("look up the mounts of snapshot", key, READ_LIMIT, asked);
        Ok(answer.await?.mounts.into_iter().map(Mount::from).collect())
    }

    /// What is known of the snapshot.
    pub async fn snapshot(
        &self,
        namespace: &Namespace,
        snapshotter: &str,
        key: &str,
    ) -> Result<SnapshotInfo, Fault> {
        let mut client = self.snapshots().await?;
        let request = StatSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            key: key.to_owned(),
        };
        let asked = client.stat(in_namespace(namespace, request));
        let answer = self.within("look up snapshot", key, READ_LIMIT, asked);
        let info = answer.await?.info;
        let info = info.ok_or_else(|| Fault::absent("look up snapshot", key))?;
        let created = info.created_at.unwrap_or_default();
        Ok(SnapshotInfo {
            parent: info.parent,
            created_at: format!("{}.{:09}", created.seconds, created.nanos),
        })
    }

    /// Makes a writable snapshot over `parent` and says how it is mounted.
    pub async fn prepare_snapshot(
        &self,
        namespace: &Namespace,
        snapshotter: &str,
        key: &str,
        parent: &str,
    ) -> Result<Vec<Mount>, Fault> {
        let mut client = self.snapshots().await?;
        let request = PrepareSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            key: key.to_owned(),
            parent: parent.to_owned(),
            ..PrepareSnapshotRequest::default()
        };
        let asked = client.prepare(in_namespace(namespace, request));
        let answer = self.within("prepare snapshot", key, CHANGE_LIMIT, asked);
        Ok(answer.await?.mounts.into_iter().map(Mount::from).collect())
    }

    /// Removes a snapshot; no error when there is none.
    pub async fn remove_snapshot(
        &self,
        namespace: &Namespace,
        snapshotter: &str,
        key: &str,
    ) -> Result<(), Fault> {
        let mut client = self.snapshots().await?;
        let request = RemoveSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            key: key.to_owned(),
        };
        let asked = client.remove(in_namespace(namespace, request));
        let answer = self.within("remove snapshot", key, CHANGE_LIMIT, asked);
        Fault::absent_as_none(answer.await).map(drop)
    }

    async fn snapshots(&self) -> Result<SnapshotsClient<Channel>, Fault> {
        Ok(SnapshotsClient::new(self.channel().await?))
    }
}

impl Mount {
    pub(super) fn to_message(&self) -> types::Mount {
        types::Mount {
            r#type: self.kind.clone(),
            source: self.source.clone(),
            target: String::new(),
            options: self.options.clone(),
        }
    }
}

impl From<types::Mount> for Mount {
    fn from(message: types::Mount) -> Self {
        Self {
            kind: message.r#type,
            source: message.source,
            options: message.options,
        }
    }
}
