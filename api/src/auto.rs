//! Snapshots that the daemon makes by itself.

use serde::{Deserialize, Serialize};

use crate::request::CreateSource;

/// Stores what is to be captured by itself under a name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AutoSetRequest {
    /// containerd's namespace.
    pub namespace: String,
    /// The name, without tag.
    pub name: String,
    /// What is captured.
    pub source: CreateSource,
    /// When: a calendar expression of systemd, in UTC.
    pub schedule: String,
    /// Capture memory as well, where it can be had.
    #[serde(default)]
    pub memory: bool,
}

/// Names automatic snapshots.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AutoRequest {
    /// containerd's namespace.
    pub namespace: String,
    /// The name, without tag.
    pub name: String,
}

/// Snapshots of a name that are made by themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AutoView {
    /// containerd's namespace.
    pub namespace: String,
    /// The name, without tag.
    pub name: String,
    /// What is captured.
    pub source: CreateSource,
    /// When, as it was given.
    pub schedule: String,
    /// True when memory is captured as well.
    pub memory: bool,
    /// When the next is made; absent for never again; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<String>,
    /// When one was last made or tried; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_at: Option<String>,
    /// What was made then; it may be gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_snapshot: Option<String>,
    /// Why none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// How many have failed since one was made.
    #[serde(default)]
    pub failures: u64,
}

/// A container that is captured when it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TriggerView {
    /// containerd's namespace.
    pub namespace: String,
    /// The container.
    pub container: String,
    /// Upon which ends: `exit`, `stop`, `oom`; none when that is not wished any more.
    pub on: Vec<String>,
    /// The name that what is made is a version of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who says so: `label`, or the path of a policy file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What is wrong with the wish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Why it ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// When that was; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// When the next snapshot is made; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<String>,
    /// No other is made before then; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_until: Option<String>,
    /// How many ends wait for the one that is due.
    #[serde(default)]
    pub held_back: u64,
    /// When one was last made or tried; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_at: Option<String>,
    /// What was made then; it may be gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_snapshot: Option<String>,
    /// Why none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// How many have failed since one was made.
    #[serde(default)]
    pub failures: u64,
}
