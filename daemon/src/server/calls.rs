//! How a call is answered: in its turn, with what it came to in the log; a change goes on to its end whatever becomes of the client.

use std::{sync::Arc, time::Instant};

use snap_api::{ErrorCode, ErrorReport};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};

use super::peer::Peer;
use crate::{error::Result, host::Host, jobs::panicked};

/// What a call answers.
pub(super) type Answer<T> = Result<T, ErrorReport>;

/// Calls of one connection under way at once; the others wait for their turn.
const CONCURRENT_CALLS: usize = 16;
/// Calls of one connection that wait for jobs or events. They have places of their own, so that they keep nobody waiting.
const CONCURRENT_WAITS: usize = 128;

/// One connection's view of the daemon.
#[derive(Clone, Debug)]
pub(super) struct Api {
    pub(super) host: Arc<Host>,
    pub(super) peer: Peer,
    /// Why this connection is served with nothing but this answer.
    refusal: Option<Arc<ErrorReport>>,
    calls: Arc<Semaphore>,
    waits: Arc<Semaphore>,
}

impl Api {
    pub(super) fn new(host: Arc<Host>, peer: Peer, refusal: Option<ErrorReport>) -> Self {
        Self {
            host,
            peer,
            refusal: refusal.map(Arc::new),
            calls: Arc::new(Semaphore::new(CONCURRENT_CALLS)),
            waits: Arc::new(Semaphore::new(CONCURRENT_WAITS)),
        }
    }

    /// Answers a question; it ends when the client leaves.
    pub(super) async fn ask<T, F>(
        self,
        verb: &'static str,
        question: impl FnOnce(Arc<Host>) -> F,
    ) -> Answer<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let _turn = self.turn().await?;
        let asked = AbortOnDropHandle::new(tokio::spawn(question(Arc::clone(&self.host))));
        let answer = match asked.await {
            Ok(answer) => answer.map_err(ErrorReport::from),
            Err(panic) => Err(panicked(&panic)),
        };
        answer.inspect_err(|error| self.log(verb, error))
    }

    /// Makes a change; it goes on to its end when the client leaves.
    pub(super) async fn change<T, F>(
        self,
        verb: &'static str,
        subject: &str,
        change: impl FnOnce(Arc<Host>) -> F,
    ) -> Answer<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let _turn = self.turn().await?;
        let (uid, begun) = (self.peer.uid, Instant::now());
        info!(verb, subject, uid, "Started a change");
        let answer = self.host.change(change(Arc::clone(&self.host))).await;
        let elapsed_ms = begun.elapsed().as_millis();
        match answer.map_err(ErrorReport::from) {
            Ok(answer) => {
                info!(verb, subject, uid, elapsed_ms, "Finished a change");
                Ok(answer)
            }
            Err(error) => {
                info!(
                    verb,
                    subject,
                    uid,
                    elapsed_ms,
                    reason = error.reason,
                    "Refused a change"
                );
                self.log(verb, &error);
                Err(error)
            }
        }
    }

    /// A turn among the calls of the connection.
    async fn turn(&self) -> Answer<SemaphorePermit<'_>> {
        self.admit()?;
        let turn = self.calls.acquire().await;
        Ok(turn.expect("a connection's calls are never closed"))
    }

    /// A place among those who wait.
    pub(super) fn wait(&self) -> Answer<SemaphorePermit<'_>> {
        self.admit()?;
        self.waits.try_acquire().map_err(|_| {
            let message = format!("This connection waits for {CONCURRENT_WAITS} things already");
            ErrorReport::new(ErrorCode::Limit, "too-many-waits", message)
        })
    }

    /// Refuses what this connection is not served.
    pub(super) fn admit(&self) -> Answer<()> {
        match &self.refusal {
            Some(refusal) => Err(ErrorReport::clone(refusal)),
            None => Ok(()),
        }
    }

    /// What is the client's business is told to the client; what is the operator's stands in the log as well.
    fn log(&self, verb: &'static str, error: &ErrorReport) {
        let (uid, reason) = (self.peer.uid, &error.reason);
        match error.code {
            ErrorCode::Internal | ErrorCode::Unavailable | ErrorCode::Corrupt => {
                warn!(verb, uid, reason, %error, "A call failed");
            }
            _ => debug!(verb, uid, reason, %error, "A call was refused"),
        }
    }
}
