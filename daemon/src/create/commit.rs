//! The end of a capture: it becomes durable, and what was learnt of the files is kept for the next one.

use std::sync::Arc;

use snap_store::{Draft, DraftStats, Manifest, Progress};
use tracing::warn;

use super::parts::Parts;
use crate::{blocking, error::Result, host::Host, jobs::JobHandle, quota};

/// Makes the snapshot durable, and saves what is known of `parts` for the next capture; that is got ready while the disk is waited for.
pub(super) async fn commit(
    host: &Arc<Host>,
    draft: Draft,
    manifest: Manifest,
    parts: Option<Parts>,
    job: &JobHandle,
) -> Result<(Manifest, DraftStats)> {
    let Some(parts) = parts else {
        return publish(host, draft, manifest, job).await;
    };
    let (committed, remembered) = tokio::join!(publish(host, draft, manifest, job), parts.encode());
    let committed = committed?;
    let saved = match remembered {
        Ok(remembered) => remembered.save().await,
        Err(error) => Err(error),
    };
    if let Err(error) = saved {
        let error: &dyn std::error::Error = &error;
        warn!(
            error,
            "Cannot remember what was read, the next capture reads all of it again"
        );
    }
    Ok(committed)
}

/// Makes the snapshot durable.
async fn publish(
    host: &Arc<Host>,
    draft: Draft,
    manifest: Manifest,
    job: &JobHandle,
) -> Result<(Manifest, DraftStats)> {
    let (host, job) = (Arc::clone(host), job.clone());
    let committing = move || -> Result<_> {
        job.phase("commit");
        if job.is_cancelled() {
            return Err(snap_store::Error::Cancelled.into());
        }
        let namespace = manifest.namespace.clone();
        Ok(draft.commit_if(manifest, |stats| {
            quota::require_room(&host, &namespace, stats.stored_bytes)
        })?)
    };
    blocking(committing).await
}
