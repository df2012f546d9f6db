//! What is asked and answered about templates.

use serde::{Deserialize, Serialize};

use super::Template;
use crate::{path::WirePath, view::SnapshotView};

/// Builds a template, or asks what that would come to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TemplateBuildRequest {
    /// containerd's namespace.
    pub namespace: String,
    /// How it is made; paths of the host absolute.
    pub template: Template,
    /// What the caller has found out about steps that need something of the host.
    #[serde(default)]
    pub sources: Vec<StepSource>,
    /// Why it is built, for the log, when nobody asked for it as such.
    #[serde(default)]
    pub reason: Option<String>,
    /// Run every step, whatever earlier builds have left.
    #[serde(default)]
    pub no_cache: bool,
}

/// What a step that clones is given.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepSource {
    /// Which step, from 0 on.
    pub step: u32,
    /// The commit its branch stands at: 40 or 64 hexadecimal digits.
    pub commit: String,
    /// A folder of the host that holds the clone; only needed when the step is run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<WirePath>,
}

/// What a build would come to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TemplatePlan {
    /// The key of the whole: what it would be made of.
    pub key: String,
    /// True when the last build was of the same and can be used: there is nothing to do.
    pub unchanged: bool,
    /// Its steps.
    pub steps: Vec<PlannedStep>,
}

/// A step before it is run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlannedStep {
    /// What it does.
    pub step: String,
    /// The digest of everything it depends on.
    pub key: String,
    /// True when an earlier build has left its result.
    pub cached: bool,
}

/// A template was built.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Built {
    /// The template's name.
    pub template: String,
    /// The version it is now.
    pub snapshot: SnapshotView,
    /// True when nothing had changed since the last build, and nothing was done.
    pub unchanged: bool,
    /// What became of each step; none when nothing was done.
    pub steps: Vec<BuiltStep>,
    /// Why it was built, when nobody asked for it as such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long the whole operation took, in microseconds.
    pub elapsed_us: u64,
    /// Versions that went because the template keeps no more, as `NAME:NUMBER`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forgotten: Vec<String>,
    /// Things worth knowing.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A step after a build.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BuiltStep {
    /// What it does.
    pub step: String,
    /// True when it was not run, because an earlier build had left its result.
    pub cached: bool,
    /// How long it took, in microseconds; 0 when it was not run.
    pub elapsed_us: u64,
}

/// Names a template.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TemplateRequest {
    /// containerd's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A template that is registered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TemplateView {
    /// containerd's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// How it is made.
    pub template: Template,
    /// What the last build was made of.
    pub key: String,
    /// When it was last built; RFC 3339.
    pub built_at: String,
    /// The snapshot containers are made from: what `NAME:latest` points to, when it points to something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotView>,
    /// Why that cannot be used; absent when it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unusable: Option<String>,
}

/// Asks for what a job has printed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobOutputRequest {
    /// The job's id.
    pub job: String,
    /// Where to go on, in bytes from its beginning.
    #[serde(default)]
    pub offset: u64,
}

/// A part of what a job has printed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct JobOutput {
    /// The text; what is not UTF-8 is replaced.
    pub text: String,
    /// Where to go on.
    pub next: u64,
    /// True when something before it is no longer kept.
    #[serde(default)]
    pub missed: bool,
}
