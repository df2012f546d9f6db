//! From a captured OCI spec to a new container's: an allow-list, not a copy.
//!
//! A snapshot may come from another host, and whoever made it must not gain more here than a container with its
//! settings has: paths of the host, hooks and annotations that runtimes obey are left out or need the user's word.
//! A terminal is never asked for, because nobody is attached to a restored container; what was captured with one
//! runs without.

use std::path::Path;

use serde_json::{Map, Value, json};
use snap_api::{ErrorCode, ErrorReport, NetworkChoice};
use snap_store::ContainerConfig;

use self::shape::{LINUX, NAMESPACES, PROCESS, Shape, corrupt};
use crate::{error::Result, memory::additions};

pub(crate) use mounts::SpecMount;
pub(crate) use runtime::{labels, runtime};

mod mounts;
mod policy;
mod runtime;
mod shape;

/// Longest host name Linux takes, in bytes.
const MAX_HOSTNAME_BYTES: usize = 64;
/// Annotations that describe an image and that no runtime acts upon.
const ANNOTATIONS: &str = "org.opencontainers.image.";

/// What a new container's spec is made with.
#[derive(Clone, Debug)]
pub struct SpecPlan<'a> {
    /// The captured configuration; hostile until checked.
    pub captured: &'a ContainerConfig,
    /// Namespace of the new container.
    pub namespace: &'a str,
    /// Id of the new container.
    pub id: &'a str,
    /// Its root folder.
    pub rootfs: &'a Path,
    /// Its network.
    pub network: &'a NetworkChoice,
    /// Bind mounts to keep, by destination.
    pub keep_mounts: &'a [String],
    /// Bind mounts to leave out, by destination.
    pub drop_mounts: &'a [String],
}

/// The new spec, and what was left out of it, for people. Refuses bind mounts without a policy.
///
/// # Errors
/// `Corrupt` when the captured spec is not one, `mount-without-policy` when a bind mount is neither the system's nor
/// named, and a usage error when a mount is named that is not there.
pub fn derive(plan: &SpecPlan<'_>) -> Result<(Value, Vec<String>)> {
    let mut captured = plan.captured.spec.clone();
    additions::remove(&mut captured);
    let Value::Object(old) = &captured else {
        return Err(corrupt("spec", "it is not an object").into());
    };
    let mut warnings = Vec::new();
    let mut new = Map::new();
    new.insert("ociVersion".to_owned(), version(old)?);
    new.insert("root".to_owned(), root(plan, old)?);
    new.insert("process".to_owned(), process(plan, old, &mut warnings)?);
    new.insert("mounts".to_owned(), policy::mounts(plan, &mut warnings)?);
    new.insert("linux".to_owned(), linux(plan, old, &mut warnings)?);
    new.extend(host_names(plan, old)?);
    new.extend(annotations(old, &mut warnings)?);
    left_out(old, &mut warnings);
    Ok((Value::Object(new), warnings))
}

fn version(old: &Map<String, Value>) -> Result<Value> {
    let version = old.get("ociVersion").unwrap_or(&Value::Null);
    Ok(Shape::Text.copy(version, "ociVersion", &mut Vec::new())?)
}

fn root(plan: &SpecPlan<'_>, old: &Map<String, Value>) -> Result<Value> {
    let is_read_only = match old.get("root").and_then(|root| root.get("readonly")) {
        None | Some(Value::Null) => false,
        Some(Value::Bool(is_read_only)) => *is_read_only,
        Some(_) => return Err(corrupt("root.readonly", "it is not true or false").into()),
    };
    let Some(path) = plan.rootfs.to_str() else {
        let message = format!("{} is not UTF-8, as a spec needs it", plan.rootfs.display());
        return Err(ErrorReport::new(ErrorCode::Unavailable, "root-path", message).into());
    };
    Ok(json!({ "path": path, "readonly": is_read_only }))
}

fn process(
    plan: &SpecPlan<'_>,
    old: &Map<String, Value>,
    warnings: &mut Vec<String>,
) -> Result<Value> {
    let mut unknown = Vec::new();
    let process = old.get("process").unwrap_or(&Value::Null);
    let mut process = PROCESS.copy(process, "process", &mut unknown)?;
    warn_of_fields(unknown, &["process.consoleSize"], warnings);
    if process["terminal"] == Value::Bool(true) {
        process["terminal"] = Value::Bool(false);
        warnings.push("The container had a terminal; it runs without one".to_owned());
    }
    let old_name = old.get("hostname").and_then(Value::as_str);
    let names_old = |value: &str| Some(value) == old_name || is_id_of(value, &plan.captured.id);
    let variables = process.get_mut("env").and_then(Value::as_array_mut);
    for variable in variables.into_iter().flatten() {
        let value = variable
            .as_str()
            .and_then(|text| text.strip_prefix("HOSTNAME="));
        if value.is_some_and(names_old) {
            *variable = Value::String(format!("HOSTNAME={}", hostname(plan.id)));
        }
    }
    Ok(process)
}

fn linux(
    plan: &SpecPlan<'_>,
    old: &Map<String, Value>,
    warnings: &mut Vec<String>,
) -> Result<Value> {
    const MADE_ANEW: [&str; 2] = ["linux.namespaces", "linux.cgroupsPath"];
    let empty = Value::Object(Map::new());
    let old = old
        .get("linux")
        .filter(|linux| !linux.is_null())
        .unwrap_or(&empty);
    let mut unknown = Vec::new();
    let mut linux = LINUX.copy(old, "linux", &mut unknown)?;
    warn_of_fields(unknown, &MADE_ANEW, warnings);
    let namespaces = old.get("namespaces").filter(|list| !list.is_null());
    linux["namespaces"] = namespaces_of(plan, namespaces, warnings)?;
    linux["cgroupsPath"] = cgroups_path(plan, old.get("cgroupsPath"))?;
    if matches!(plan.network, NetworkChoice::Host)
        && let Some(sysctl) = linux.get_mut("sysctl").and_then(Value::as_object_mut)
    {
        let before = sysctl.len();
        sysctl.retain(|name, _| !name.starts_with("net."));
        if sysctl.len() < before {
            warnings
                .push("Kernel settings of the network were left out: it is the host's".to_owned());
        }
    }
    Ok(linux)
}

/// The same kinds of namespaces, all of them new but for the network, which is as chosen.
fn namespaces_of(
    plan: &SpecPlan<'_>,
    old: Option<&Value>,
    warnings: &mut Vec<String>,
) -> Result<Value> {
    const KINDS: [&str; 7] = ["pid", "mount", "ipc", "uts", "user", "cgroup", "time"];
    let old = match old {
        None => Value::Array(Vec::new()),
        Some(old) => NAMESPACES.copy(old, "linux.namespaces", &mut Vec::new())?,
    };
    let mut new = Vec::new();
    for namespace in old.as_array().into_iter().flatten() {
        let kind = namespace["type"].as_str().unwrap_or_default();
        let has_path = namespace["path"]
            .as_str()
            .is_some_and(|path| !path.is_empty());
        match kind {
            "network" => {}
            "user" if has_path => {
                let why = "a user namespace of another container cannot be joined";
                return Err(corrupt("linux.namespaces", why).into());
            }
            known if KINDS.contains(&known) => {
                if has_path {
                    warnings.push(format!(
                        "The {kind} namespace was shared; it is the container's own now"
                    ));
                }
                new.push(json!({ "type": kind }));
            }
            other => {
                let why = format!("`{other}` is no kind of namespace");
                return Err(corrupt("linux.namespaces", &why).into());
            }
        }
    }
    match plan.network {
        NetworkChoice::None => new.push(json!({ "type": "network" })),
        NetworkChoice::Host => {}
        NetworkChoice::Path(path) => new.push(json!({ "type": "network", "path": path })),
    }
    Ok(Value::Array(new))
}

/// `/NAMESPACE/ID`, or `SLICE:PREFIX:ID` when the original was systemd's.
fn cgroups_path(plan: &SpecPlan<'_>, old: Option<&Value>) -> Result<Value> {
    let old = match old {
        None | Some(Value::Null) => "",
        Some(Value::String(old)) => old,
        Some(_) => return Err(corrupt("linux.cgroupsPath", "it is not text").into()),
    };
    let is_word = |word: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@\\".contains(&byte);
        word.bytes().all(plain)
    };
    let path = match old.split(':').collect::<Vec<_>>()[..] {
        [slice, prefix, _] if is_word(slice) && is_word(prefix) => {
            format!("{slice}:{prefix}:{}", plan.id)
        }
        [_, _, _] => {
            let why = "its slice or prefix is not a systemd unit's name";
            return Err(corrupt("linux.cgroupsPath", why).into());
        }
        _ => format!("/{}/{}", plan.namespace, plan.id),
    };
    Ok(Value::String(path))
}

/// Each clone is somebody of its own: a host name is the new id, unless the original had none.
fn host_names(plan: &SpecPlan<'_>, old: &Map<String, Value>) -> Result<Map<String, Value>> {
    let mut names = Map::new();
    for field in ["hostname", "domainname"] {
        let Some(name) = old.get(field).filter(|name| !name.is_null()) else {
            continue;
        };
        let name = Shape::Text.copy(name, field, &mut Vec::new())?;
        let is_own = field == "hostname" && name.as_str().is_some_and(|name| !name.is_empty());
        let name = if is_own {
            Value::String(hostname(plan.id))
        } else {
            name
        };
        names.insert(field.to_owned(), name);
    }
    Ok(names)
}

/// The host name of a container with this id.
pub(crate) fn hostname(id: &str) -> String {
    let cut = id.get(..MAX_HOSTNAME_BYTES).unwrap_or(id);
    cut.trim_end_matches(['.', '_', '-']).to_owned()
}

/// True for an id and for the first twelve characters of it, as some clients name hosts.
fn is_id_of(value: &str, id: &str) -> bool {
    value == id || id.get(..12) == Some(value)
}

fn annotations(
    old: &Map<String, Value>,
    warnings: &mut Vec<String>,
) -> Result<Option<(String, Value)>> {
    let annotations = old.get("annotations").filter(|found| !found.is_null());
    let Some(annotations) = annotations else {
        return Ok(None);
    };
    let copy = Shape::Map(&Shape::Text).copy(annotations, "annotations", &mut Vec::new())?;
    let Value::Object(all) = copy else {
        return Ok(None);
    };
    let (kept, dropped): (Map<_, _>, Map<_, _>) = all
        .into_iter()
        .partition(|(name, _)| name.starts_with(ANNOTATIONS));
    if !dropped.is_empty() {
        let names: Vec<_> = dropped
            .iter()
            .map(|(name, _)| name.as_str())
            .take(8)
            .collect();
        let (count, names) = (dropped.len(), names.join(", "));
        warnings.push(format!("{count} annotations were left out: {names}"));
    }
    Ok((!kept.is_empty()).then(|| ("annotations".to_owned(), Value::Object(kept))))
}

/// Says what of the top level was not taken over.
fn left_out(old: &Map<String, Value>, warnings: &mut Vec<String>) {
    const TAKEN: [&str; 8] = [
        "ociVersion",
        "root",
        "process",
        "mounts",
        "linux",
        "hostname",
        "domainname",
        "annotations",
    ];
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    for (name, value) in old {
        match name.as_str() {
            _ if is_empty(value) || TAKEN.contains(&name.as_str()) => {}
            "hooks" => warnings.push("Hooks were left out".to_owned()),
            _ => warnings.push(format!("The spec's field `{name}` was left out")),
        }
    }
}

fn warn_of_fields(unknown: Vec<String>, expected: &[&str], warnings: &mut Vec<String>) {
    let unexpected = unknown
        .into_iter()
        .filter(|path| !expected.contains(&path.as_str()));
    warnings.extend(unexpected.map(|path| format!("The spec's field `{path}` was left out")));
}

#[cfg(test)]
mod tests;
