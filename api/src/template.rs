//! Templates: how an environment is made, as a TOML file says it, and what is asked and answered about them.
//!
//! The same type is the file, the message and what the daemon keeps, and a field that is not known is an error in all three: to leave out
//! what an older release does not know would make another environment than was asked for.

mod check;
mod parse;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use wire::*;

/// How an environment is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// Its name, and that of the snapshots made by it; without a tag.
    pub name: String,
    /// The tag of each snapshot: text in which `{branch}` and `{commit}` stand for those of the first repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Where it begins.
    pub base: Base,
    /// What is done, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// Environment variables of the steps and of the containers made from it, beside those of the base.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// What a container made from it runs; that of the base when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Command>,
    /// Who runs it: `USER`, `UID`, `USER:GROUP` or `UID:GID`; as the base has it when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The working folder of steps and containers; as the base has it when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// The network of the steps.
    #[serde(default, skip_serializing_if = "is_default")]
    pub network: BuildNetwork,
    /// What is left out of the snapshot; patterns as of `snapctl create --exclude`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Labels of the snapshot.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Capture the command's processes as well, once the probe has passed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub memory: bool,
    /// Versions that are kept.
    #[serde(default = "keep", skip_serializing_if = "is_keep")]
    pub keep: u32,
    /// How long each snapshot is kept, in seconds; until somebody removes it when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    /// What must succeed in a container of a new version before the name moves to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
}

/// Where a template begins; one of both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// An image that containerd has, unpacked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// A snapshot of a container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
}

/// One step: it runs, copies or clones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What people see instead of what it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Command>,
    /// Files of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<CopyStep>,
    /// A branch of a repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitStep>,
    /// Who runs the command, or owns the files; root when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// A command: a line for `/bin/sh -ec`, or words that are run as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged, expecting = "a line for /bin/sh, or a list of words")]
pub enum Command {
    /// For the shell of the environment.
    Line(String),
    /// A program and its arguments.
    Words(Vec<String>),
}

/// Copies a file or a folder of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CopyStep {
    /// On the host; what is not absolute begins where the template's file is.
    pub from: String,
    /// Where it goes: the name the file or folder has afterwards.
    pub to: String,
    /// What is left out; patterns as of `snapctl create --exclude`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
}

/// Clones a branch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct GitStep {
    /// Anything `git clone` takes; what begins with `.` begins where the template's file is.
    pub repository: String,
    /// The branch; the repository's own choice when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Where it goes.
    pub to: String,
}

/// The network of a template's steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum BuildNetwork {
    /// None.
    #[default]
    None,
    /// That of the host.
    Host,
}

/// Says whether a new version is of use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Exits with 0 when it is. It is tried again and again beside the template's command; without one it is run once, by itself.
    pub run: Command,
    /// How long it may take until it succeeds, in seconds.
    #[serde(default = "probe_seconds")]
    pub timeout_seconds: u64,
}

impl Command {
    /// The words that are run.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        match self {
            Self::Line(line) => ["/bin/sh", "-ec", line].map(str::to_owned).to_vec(),
            Self::Words(words) => words.clone(),
        }
    }

    /// The command as people write it.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Line(line) => line.trim().to_owned(),
            Self::Words(words) => words.join(" "),
        }
    }
}

impl Step {
    /// What it does, in one line.
    #[must_use]
    pub fn shown(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let long = match (&self.run, &self.copy, &self.git) {
            (Some(run), _, _) => format!("run {}", run.shown()),
            (_, Some(copy), _) => format!("copy {} to {}", copy.from, copy.to),
            (_, _, Some(git)) => format!("clone {} to {}", git.repository, git.to),
            _ => String::new(),
        };
        let line = long.lines().next().unwrap_or_default();
        match line.char_indices().nth(SHOWN_CHARS) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None if line.len() < long.len() => format!("{line} …"),
            None => line.to_owned(),
        }
    }
}

/// Longest description of a step, in characters.
const SHOWN_CHARS: usize = 100;

fn keep() -> u32 {
    3
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_keep(value: &u32) -> bool {
    *value == keep()
}

fn probe_seconds() -> u64 {
    60
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
