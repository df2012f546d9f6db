//! How the fake daemon takes its connections.

use futures::StreamExt;
use snap_api::{Snapshotd, SnapshotdRequest, SnapshotdResponse};
use tarpc::{
    server::{BaseChannel, Channel},
    tokio_serde::formats::Json,
};

use super::Fake;

/// Serves each connection until it is closed.
pub(super) async fn accept(
    fake: Fake,
    mut incoming: impl futures::Stream<Item = std::io::Result<Transport>> + Unpin,
) {
    while let Some(Ok(transport)) = incoming.next().await {
        let fake = fake.clone();
        tokio::spawn(async move {
            let state = fake.0.clone();
            let serving = BaseChannel::with_defaults(transport)
                .execute(fake.serve())
                .for_each(|response| async { drop(tokio::spawn(response)) });
            tokio::select! {
                () = serving => {}
                () = state.vanish.notified() => {}
            }
        });
    }
}

type Transport = tarpc::serde_transport::Transport<
    tokio::net::UnixStream,
    tarpc::ClientMessage<SnapshotdRequest>,
    tarpc::Response<SnapshotdResponse>,
    Json<tarpc::ClientMessage<SnapshotdRequest>, tarpc::Response<SnapshotdResponse>>,
>;
