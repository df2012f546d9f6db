//! Which versions of a name are kept, and what becomes of the others.

use serde::{Deserialize, Serialize};

/// How many versions are kept, and which: a version stays when one of the rules names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KeepRules {
    /// The last so many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub last: u32,
    /// The newest of each of the last so many hours in which there is one; hours, days, weeks, months and years are those of UTC.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hourly: u32,
    /// The same of days.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub daily: u32,
    /// The same of weeks, which begin on Monday.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub weekly: u32,
    /// The same of months.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub monthly: u32,
    /// The same of years.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub yearly: u32,
    /// Those made within so many seconds before the newest.
    #[serde(default, skip_serializing_if = "is_no_time")]
    pub within_seconds: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
const fn is_no_time(seconds: &u64) -> bool {
    *seconds == 0
}

/// Removes the versions of names that no rule keeps and nothing holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ForgetRequest {
    /// containerd's namespace.
    pub namespace: String,
    /// `NAME`, without a tag; none together with `all_names`.
    #[serde(default)]
    pub names: Vec<String>,
    /// Every name of the namespace.
    #[serde(default)]
    pub all_names: bool,
    /// What is kept; at least one rule.
    pub keep: KeepRules,
    /// Change nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Where the previous page ended; opaque. A page removes what stands on it and nothing else.
    #[serde(default)]
    pub cursor: Option<String>,
    /// At most this many versions; 0 asks for as many as the daemon does at once.
    #[serde(default)]
    pub limit: u32,
}

/// What becomes of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ForgetVerdict {
    /// A rule keeps it.
    Keep,
    /// No rule keeps it, but something holds it.
    Held,
    /// It is removed; when nothing is changed, it would be.
    Remove,
}

/// A rule that keeps a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum KeepRule {
    /// It is among the last, or the oldest while there is room for more.
    Last,
    /// It is the newest of an hour, or the oldest while there is room for more.
    Hourly,
    /// Of a day.
    Daily,
    /// Of a week.
    Weekly,
    /// Of a month.
    Monthly,
    /// Of a year.
    Yearly,
    /// It is not much older than the newest.
    Within,
}

/// What kind of thing holds a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum HoldKind {
    /// A volume that it is a version of: namespace and name.
    Volume,
    /// It is pinned.
    Pinned,
    /// A name points to it, `latest` among them.
    Tag,
    /// It is a version of another name too.
    Version,
    /// A restored container uses it, as `NAMESPACE/ID`.
    Container,
    /// It is mounted at a folder.
    Folder,
    /// It is in a state in which nothing is forgotten.
    State,
    /// It was changed while it was looked at; the next time decides.
    Changed,
}

/// What holds a version whatever the rules say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HeldBy {
    /// What kind of thing.
    pub kind: HoldKind,
    /// Its name, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What becomes of a version, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ForgetView {
    /// The name, without a tag.
    pub name: String,
    /// The number of the version.
    pub version: u64,
    /// Its snapshot.
    pub snapshot: String,
    /// When it was made; RFC 3339.
    pub created_at: String,
    /// What becomes of it.
    pub verdict: ForgetVerdict,
    /// The rules that keep it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept_by: Vec<KeepRule>,
    /// What else holds it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_by: Vec<HeldBy>,
}

/// Stores what is kept of the versions of a name by itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PolicySetRequest {
    /// containerd's namespace.
    pub namespace: String,
    /// `NAME`, without a tag; it need not have versions.
    pub name: String,
    /// What is kept; at least one rule.
    pub keep: KeepRules,
}

/// Names a policy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PolicyRequest {
    /// containerd's namespace.
    pub namespace: String,
    /// `NAME`, without a tag.
    pub name: String,
}

/// Asks for policies.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PolicyListRequest {
    /// containerd's namespace; every namespace when absent.
    #[serde(default)]
    pub namespace: Option<String>,
    /// `NAME`, without a tag; all of them when absent.
    #[serde(default)]
    pub name: Option<String>,
    /// Where the previous page ended; opaque.
    #[serde(default)]
    pub cursor: Option<String>,
    /// At most this many; 0 asks for as many as the daemon gives at once.
    #[serde(default)]
    pub limit: u32,
}

/// What is kept of the versions of a name by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PolicyView {
    /// containerd's namespace.
    pub namespace: String,
    /// The name, without a tag.
    pub name: String,
    /// What is kept.
    pub keep: KeepRules,
    /// Until then nothing is removed by it, because the catalogue is a copy that was put back; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rests_until: Option<String>,
}
