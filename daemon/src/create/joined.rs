//! A snapshot of two others: their trees put together, without reading a file.

use std::sync::Arc;

use snap_api::{ErrorCode, ErrorReport};
use snap_fs::capture::{self, Merged};
use snap_store::{Draft, Progress};

use super::{MergeSource, Taken};
use crate::{blocking, error::Result, host::Host, jobs::JobHandle};

/// Paths that an error names before it says how many more there are.
const SHOWN_PATHS: usize = 10;

/// Merges the trees.
///
/// # Errors
/// `volume-conflict` when both have changed a path, and not in the same way.
pub(super) async fn take(
    host: &Arc<Host>,
    draft: Draft,
    trees: &MergeSource,
    job: &JobHandle,
) -> Result<(Draft, Taken)> {
    let (store, trees, job) = (host.store.clone(), trees.clone(), job.clone());
    blocking(move || -> Result<_> {
        job.phase("merge");
        let [base, ours, theirs] =
            [trees.base, trees.ours, trees.theirs].map(|id| store.manifest(&id));
        let merged = capture::merge(&draft, &base?, &ours?, &theirs?, &job)?;
        let tree = match merged {
            Merged::Whole(tree) => *tree,
            Merged::Conflicts(paths) => return Err(conflict(&trees.source, &paths)),
        };
        let taken = Taken {
            parts: None,
            tree,
            pause_us: 0,
            memory: None,
            warnings: Vec::new(),
        };
        Ok((draft, taken))
    })
    .await
}

fn conflict(source: &str, paths: &[Vec<Vec<u8>>]) -> crate::Error {
    let shown = |path: &Vec<Vec<u8>>| format!("/{}", path.join(&b'/').escape_ascii());
    let named: Vec<_> = paths.iter().take(SHOWN_PATHS).map(shown).collect();
    let more = match paths.len().saturating_sub(SHOWN_PATHS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!(
        "The {source} has changed since, and so has what is to be committed: {}{more}",
        named.join(", ")
    );
    ErrorReport::new(ErrorCode::Conflict, "volume-conflict", message)
        .hint("Nothing was changed; what the container has written is still there: give it other names and commit again, or let it go with `snapctl volume reload --discard`")
        .into()
}
