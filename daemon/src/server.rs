//! The socket: accept, check the peer, parse every request at the edge, answer.
//!
//! ```text
//! accept ─► peer credentials ─► one task a connection ─► clamp deadlines ─► one task a request ─► Api
//! ```
//!
//! A connection can end itself alone: a panic, a frame that is too long or a number that cannot be one stay in
//! its task. Changes and jobs are tasks of their own, so a client that leaves ends nothing but its waiting.

mod api;
mod autos;
mod browse;
mod calls;
mod changes;
mod copies;
mod filter;
mod listing;
mod naming;
mod page;
mod parse;
mod peer;
mod policies;
mod retention;
mod socket;
mod templates;
#[cfg(test)]
mod tests;
mod trash;
mod tree;
mod volumes;
mod work;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt};
use snap_api::{ErrorReport, MAX_FRAME_BYTES, Snapshotd, SnapshotdRequest, SnapshotdResponse};
use tarpc::{
    ClientMessage, Response, serde_transport,
    server::{self, BaseChannel, Channel},
    tokio_serde::formats::Json,
    tokio_util::codec::LengthDelimitedCodec,
};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use calls::Api;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use parse::fuzz;
use peer::{Connections, Peer, Slot};
pub use socket::{Listening, OwnSocket, SocketError, listen};

use crate::host::Host;

/// Longest a request may be under way: tarpc panics on deadlines beyond two years, and nothing but a long poll
/// takes more than minutes.
const LONGEST_DEADLINE: Duration = Duration::from_secs(24 * 60 * 60);
/// Requests of one connection under way at once; what is beyond is refused by tarpc. Waiting for jobs counts here too.
const MAX_REQUESTS: usize = 256;
/// Answers of one connection that wait to be written.
const PENDING_ANSWERS: usize = 16;
/// How long a connection that was refused may stay to read why.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(5);
/// Accepting fails when there are no descriptors left; trying again at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The server of one socket; cheap to clone.
#[derive(Clone, Debug)]
pub struct Server {
    host: Arc<Host>,
    connections: Connections,
    tasks: TaskTracker,
    hang_up: CancellationToken,
}

impl Server {
    /// A server of `host`, serving nobody yet.
    #[must_use]
    pub fn new(host: Arc<Host>) -> Self {
        Self {
            connections: Connections::new(host.config.connections_per_user),
            host,
            tasks: TaskTracker::new(),
            hang_up: CancellationToken::new(),
        }
    }

    /// Accepts connections until `stop`; those that are there go on.
    pub async fn accept(&self, listener: UnixListener, stop: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted.and_then(|(stream, _)| Ok((Peer::of(&stream)?, stream))) {
                Ok((peer, stream)) => self.admit(peer, stream),
                Err(error) => {
                    warn!(%error, "Cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Ends every connection, and waits until they are gone, for `limit` at most.
    pub async fn hang_up(&self, limit: Duration) {
        self.hang_up.cancel();
        self.tasks.close();
        if tokio::time::timeout(limit, self.tasks.wait())
            .await
            .is_err()
        {
            warn!(connections = self.tasks.len(), "Connections do not end");
        }
    }

    fn admit(&self, peer: Peer, stream: UnixStream) {
        let (server, hang_up) = (self.clone(), self.hang_up.clone());
        match self.connections.take(peer) {
            Some(Ok(slot)) => {
                debug!(uid = peer.uid, pid = peer.pid, "Connected");
                self.tasks.spawn(async move {
                    let slot: Slot = slot;
                    tokio::select! {
                        () = hang_up.cancelled() => {}
                        () = server.converse(peer, stream, None) => {}
                    }
                    drop(slot);
                    debug!(uid = peer.uid, pid = peer.pid, "Disconnected");
                });
            }
            Some(Err((slot, refusal))) => {
                warn!(
                    uid = peer.uid,
                    reason = refusal.reason,
                    "Refusing a connection"
                );
                self.tasks.spawn(async move {
                    let talk = server.converse(peer, stream, Some(refusal));
                    let _ = tokio::time::timeout(REFUSAL_PATIENCE, talk).await;
                    drop(slot);
                });
            }
            None => warn!(
                uid = peer.uid,
                "Dropping a connection: its user holds far too many"
            ),
        }
    }

    async fn converse(self, peer: Peer, stream: UnixStream, refusal: Option<ErrorReport>) {
        let framed = LengthDelimitedCodec::builder()
            .max_frame_length(MAX_FRAME_BYTES)
            .new_framed(stream);
        type Codec = Json<ClientMessage<SnapshotdRequest>, Response<SnapshotdResponse>>;
        let transport = serde_transport::new(framed, Codec::default()).map_ok(clamp);
        let config = server::Config {
            pending_response_buffer: PENDING_ANSWERS,
        };
        let api = Api::new(self.host, peer, refusal);
        let requests = BaseChannel::new(config, transport)
            .max_concurrent_requests(MAX_REQUESTS)
            .execute(api.serve());
        let answer = |request| async move {
            tokio::spawn(request);
        };
        requests.for_each(answer).await;
    }
}

fn clamp(mut message: ClientMessage<SnapshotdRequest>) -> ClientMessage<SnapshotdRequest> {
    if let ClientMessage::Request(request) = &mut message {
        let latest = Instant::now() + LONGEST_DEADLINE;
        request.context.deadline = request.context.deadline.min(latest);
    }
    message
}
