//! Connecting to the daemon: the socket, the codec, and hello before anything else.

use std::{
    io,
    ops::Deref,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tarpc::{client, context, serde_transport::unix, tokio_serde::formats::Json};

use crate::{
    MAX_FRAME_BYTES, PROTOCOL_MAJOR, PROTOCOL_MINOR, error::ErrorReport, request::HelloRequest,
    service::SnapshotdClient, view::Hello,
};

/// The latest deadline of a call.
const LONGEST_CALL: Duration = Duration::from_secs(24 * 3600);

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nothing listens there, or the socket may not be used; start the daemon or join its group.
    #[error("Cannot connect to {path}", path = path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The daemon closed the connection or did not answer in time.
    #[error("The daemon at {path} does not answer", path = path.display())]
    Silent {
        /// The socket.
        path: PathBuf,
        /// What the transport said.
        source: client::RpcError,
    },
    /// The daemon refused the client's version; use the `snapctl` of the daemon's release.
    #[error(transparent)]
    Refused(ErrorReport),
}

/// A connection that has said hello.
#[derive(Clone, Debug)]
pub struct Client {
    rpc: SnapshotdClient,
    hello: Hello,
}

impl Client {
    /// Connects to the socket at `path` as `name`.
    ///
    /// # Errors
    /// When nothing listens, the daemon is silent for five seconds, or the versions do not fit.
    pub async fn connect(path: &Path, name: &str) -> Result<Self, ConnectError> {
        let mut connecting = unix::connect(path, Json::default);
        connecting.config_mut().max_frame_length(MAX_FRAME_BYTES);
        let transport = connecting.await.map_err(|source| ConnectError::Socket {
            path: path.to_owned(),
            source,
        })?;
        let rpc = SnapshotdClient::new(client::Config::default(), transport).spawn();
        let request = HelloRequest {
            major: PROTOCOL_MAJOR,
            minor: PROTOCOL_MINOR,
            client: name.to_owned(),
        };
        let hello = rpc
            .hello(Self::within(Duration::from_secs(5)), request)
            .await
            .map_err(|source| ConnectError::Silent {
                path: path.to_owned(),
                source,
            })?
            .map_err(ConnectError::Refused)?;
        Ok(Self { rpc, hello })
    }

    /// What the daemon said of itself.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// A context whose deadline is `limit` from now, a day at most: the timer that watches it knows no more than
    /// two years, and no call takes so long.
    #[must_use]
    pub fn within(limit: Duration) -> context::Context {
        let mut context = context::current();
        context.deadline = Instant::now() + limit.min(LONGEST_CALL);
        context
    }
}

impl Deref for Client {
    type Target = SnapshotdClient;

    fn deref(&self) -> &SnapshotdClient {
        &self.rpc
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_beyond_the_timer_is_brought_near() {
        let latest = Instant::now() + LONGEST_CALL + Duration::from_secs(60);
        assert!(Client::within(Duration::MAX).deadline < latest);
        assert!(Client::within(Duration::from_secs(1)).deadline < latest);
    }
}
