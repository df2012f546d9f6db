//! What has happened: an event for each change of state, in order.

use serde::{Deserialize, Serialize};

use crate::error::ErrorReport;

/// A question for events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsRequest {
    /// containerd's namespace, and what belongs to none; every namespace when absent.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Where an earlier answer ended; from the oldest that is remembered when absent.
    #[serde(default)]
    pub cursor: Option<String>,
    /// Most events at once; as many as fit when 0.
    #[serde(default)]
    pub limit: u32,
    /// How long to wait when there is none yet, in milliseconds; [`crate::MAX_WAIT_MS`] at most.
    #[serde(default)]
    pub max_wait_ms: u64,
}

/// Events, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Events {
    /// Those after the cursor; none when the wait was over.
    pub events: Vec<EventView>,
    /// Where to go on.
    pub cursor: String,
    /// True when some between the cursor and the first of these are forgotten, or the daemon is another one than then.
    #[serde(default)]
    pub missed: bool,
}

/// What became of what was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum EventResult {
    /// It is done.
    Done,
    /// It failed; the error says why.
    Failed,
}

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EventView {
    /// Grows by one with each event, from 1 on in each life of the daemon.
    pub seq: u64,
    /// When; RFC 3339.
    pub at: String,
    /// The kind of a job that has ended (`create`, `restore`, `copy`, `verify`, `collect`, `repair`, `stats`, `build`, `volume`), or `trash`, `undelete`, `remove` (for
    /// good), `expire` and `forget` (the same without a trash),
    /// `policy-set`, `policy-remove`, `auto-set`, `auto-remove`, `volume-remove`, `ttl`, `tag`, `untag`, `rollback`, `pin`, `unpin`, `label`, `mount`, `unmount`, `start`, `stop` or `remove-container`.
    pub action: String,
    /// What became of it.
    pub result: EventResult,
    /// containerd's namespace, when it belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The container, the folder, the name or the snapshot.
    pub subject: String,
    /// The id of the snapshot, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// The id of the job, when it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
}
