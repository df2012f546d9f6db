//! A base that is an image: its layers as containerd has unpacked them, and the configuration of a container made from it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use snap_api::{ErrorCode, ErrorReport};
use snap_store::{ContainerConfig, Namespace};

use crate::{
    containerd::{Containerd, Fault, sha256},
    error::Result,
};

/// containerd's own snapshotter, which every client unpacks to unless told otherwise.
const SNAPSHOTTER: &str = "overlayfs";
const RUNTIME: &str = "io.containerd.runc.v2";
/// More layers than any image has.
const MAX_LAYERS: usize = 512;
/// The host name of what is captured; a container made from it is called by its own id.
const HOSTNAME: &str = "template";

/// What containerd's clients give a container that asks for nothing.
const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// An unpacked image.
#[derive(Clone, Debug)]
pub(super) struct Image {
    /// Its name.
    pub(super) name: String,
    /// What the name points to.
    pub(super) digest: String,
    /// The snapshot of its topmost layer.
    pub(super) chain: String,
    /// Its own configuration.
    config: Value,
}

impl Image {
    /// Looks it up in containerd.
    ///
    /// # Errors
    /// `image-not-found` and `image-not-unpacked`, each with what to do.
    pub(super) async fn find(
        containerd: &Containerd,
        namespace: &Namespace,
        name: &str,
    ) -> Result<Self> {
        let digest = match Fault::absent_as_none(containerd.image_digest(namespace, name).await)? {
            Some(digest) => digest,
            None => {
                let message = format!("Image {name} was not found in namespace {namespace}");
                let hint = format!("Pull it: `ctr --namespace {namespace} images pull {name}`");
                return Err(
                    ErrorReport::new(ErrorCode::NotFound, "image-not-found", message)
                        .hint(hint)
                        .into(),
                );
            }
        };
        let manifest = manifest(containerd, namespace, &digest).await?;
        let config = text(&manifest, "/config/digest", name)?;
        let config = containerd.document(namespace, &config).await?;
        let chain = chain(&config, name)?;
        let unpacked = containerd.snapshot(namespace, SNAPSHOTTER, &chain).await;
        if Fault::absent_as_none(unpacked)?.is_none() {
            let message = format!("Image {name} is not unpacked for {SNAPSHOTTER}");
            let hint = format!(
                "Unpack it: `ctr --namespace {namespace} images pull {name}`, or `… images import` again"
            );
            return Err(
                ErrorReport::new(ErrorCode::Conflict, "image-not-unpacked", message)
                    .hint(hint)
                    .into(),
            );
        }
        Ok(Self {
            name: name.to_owned(),
            digest,
            chain,
            config,
        })
    }

    /// A container of it: unprivileged, with a network of its own.
    pub(super) fn container(&self) -> ContainerConfig {
        ContainerConfig {
            id: HOSTNAME.to_owned(),
            image: self.name.clone(),
            snapshotter: SNAPSHOTTER.to_owned(),
            parent: self.chain.clone(),
            runtime: RUNTIME.to_owned(),
            runtime_options_type: String::new(),
            runtime_options: Vec::new(),
            spec: self.spec(),
            labels: BTreeMap::new(),
            included_mounts: Vec::new(),
        }
    }

    /// The user of its configuration, which may be a name.
    pub(super) fn user(&self) -> Option<&str> {
        let user = self.config.pointer("/config/User").and_then(Value::as_str);
        user.filter(|user| !user.is_empty())
    }

    fn spec(&self) -> Value {
        let words = |field: &str| {
            let found = self.config.pointer(&format!("/config/{field}"));
            let found = found.and_then(Value::as_array).into_iter().flatten();
            let words = found.filter_map(Value::as_str).map(str::to_owned);
            words.collect::<Vec<_>>()
        };
        let mut arguments = words("Entrypoint");
        arguments.extend(words("Cmd"));
        if arguments.is_empty() {
            arguments.push("/bin/sh".to_owned());
        }
        let cwd = self
            .config
            .pointer("/config/WorkingDir")
            .and_then(Value::as_str);
        let cwd = cwd.filter(|cwd| cwd.starts_with('/')).unwrap_or("/");
        let mut env = words("Env");
        if !env.iter().any(|variable| variable.starts_with("PATH=")) {
            env.push(
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            );
        }
        json!({
            "ociVersion": "1.0.2",
            "root": { "path": "rootfs", "readonly": false },
            "process": {
                "terminal": false,
                "user": { "uid": 0, "gid": 0 },
                "args": arguments,
                "env": env,
                "cwd": cwd,
                "capabilities": {
                    "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES,
                },
                "noNewPrivileges": true,
            },
            "hostname": HOSTNAME,
            "mounts": mounts(),
            "linux": {
                "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
                "namespaces": [
                    { "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" },
                    { "type": "network" },
                ],
                "maskedPaths": [
                    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
                ],
                "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            },
        })
    }
}

fn mounts() -> Value {
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": kind, "options": options });
    json!([
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount(
            "/dev",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"]
        ),
        mount(
            "/dev/pts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5"
            ]
        ),
        mount(
            "/dev/shm",
            "tmpfs",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]
        ),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount(
            "/run",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"]
        ),
    ])
}

/// The manifest for this machine.
async fn manifest(containerd: &Containerd, namespace: &Namespace, digest: &str) -> Result<Value> {
    let document = containerd.document(namespace, digest).await?;
    let Some(manifests) = document.get("manifests").and_then(Value::as_array) else {
        return Ok(document);
    };
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let is_ours = |one: &&Value| {
        let field = |name: &str| {
            one.pointer(&format!("/platform/{name}"))
                .and_then(Value::as_str)
        };
        field("architecture").is_none_or(|found| found == architecture)
            && field("os").is_none_or(|found| found == "linux")
    };
    let ours = manifests.iter().find(is_ours);
    let Some(digest) = ours
        .and_then(|one| one.get("digest"))
        .and_then(Value::as_str)
    else {
        let message = format!("Image {digest} has nothing for {architecture}");
        return Err(ErrorReport::new(ErrorCode::NotFound, "image-platform", message).into());
    };
    Ok(containerd.document(namespace, digest).await?)
}

/// The name of the snapshot of the topmost layer, as every client of containerd makes it of the layers' digests.
fn chain(config: &Value, name: &str) -> Result<String> {
    let layers = config.pointer("/rootfs/diff_ids").and_then(Value::as_array);
    let layers: Option<Vec<&str>> = layers
        .filter(|layers| layers.len() <= MAX_LAYERS)
        .and_then(|layers| layers.iter().map(Value::as_str).collect());
    let mut layers = layers.unwrap_or_default().into_iter();
    let Some(lowest) = layers.next() else {
        return Err(malformed(name, "it lists no layers").into());
    };
    Ok(layers.fold(lowest.to_owned(), |below, layer| {
        sha256(format!("{below} {layer}").as_bytes())
    }))
}

fn text(document: &Value, pointer: &str, name: &str) -> Result<String> {
    let found = document.pointer(pointer).and_then(Value::as_str);
    let missing = || malformed(name, &format!("its manifest has no {pointer}"));
    Ok(found.ok_or_else(missing)?.to_owned())
}

fn malformed(name: &str, why: &str) -> ErrorReport {
    let message = format!("Image {name} cannot be understood: {why}");
    ErrorReport::new(ErrorCode::Unavailable, "image-malformed", message)
}
