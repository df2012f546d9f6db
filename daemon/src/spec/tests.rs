use std::collections::BTreeMap;

use super::*;

const NONE: NetworkChoice = NetworkChoice::None;

fn config(spec: Value) -> ContainerConfig {
    ContainerConfig {
        id: "0123456789abcdef".to_owned(),
        image: String::new(),
        snapshotter: "overlayfs".to_owned(),
        parent: String::new(),
        runtime: "io.containerd.runc.v2".to_owned(),
        runtime_options_type: String::new(),
        runtime_options: Vec::new(),
        spec,
        labels: BTreeMap::new(),
        included_mounts: Vec::new(),
    }
}

fn plan<'a>(captured: &'a ContainerConfig, network: &'a NetworkChoice) -> SpecPlan<'a> {
    SpecPlan {
        captured,
        namespace: "default",
        id: "clone-1",
        rootfs: Path::new("/root/fs"),
        network,
        keep_mounts: &[],
        drop_mounts: &[],
    }
}

/// What a derivation makes of a minimal spec with `field` set to `value`.
fn with(field: &str, value: Value) -> Result<(Value, Vec<String>)> {
    let mut spec = json!({ "ociVersion": "1.0.2", "process": { "args": ["sh"], "cwd": "/" } });
    let (parent, name) = field.rsplit_once('/').unwrap_or(("", field));
    let parent = match parent {
        "" => &mut spec,
        parent => &mut spec[parent],
    };
    parent[name] = value;
    derive(&plan(&config(spec), &NONE))
}

#[test]
fn a_clone_is_somebody_of_its_own() {
    let captured = config(json!({
        "ociVersion": "1.0.2",
        "hostname": "0123456789ab",
        "root": { "path": "rootfs", "readonly": true },
        "process": { "args": ["sh"], "cwd": "/", "env": ["A=b", "HOSTNAME=0123456789ab"] },
        "linux": { "cgroupsPath": "/default/0123456789abcdef", "namespaces": [
            {"type": "pid"}, {"type": "mount"}, {"type": "network", "path": "/proc/1/ns/net"},
        ]},
    }));
    let (spec, warnings) = derive(&plan(&captured, &NONE)).unwrap();
    assert_eq!(spec["hostname"], "clone-1");
    assert_eq!(
        spec["root"],
        json!({ "path": "/root/fs", "readonly": true })
    );
    assert_eq!(spec["process"]["env"], json!(["A=b", "HOSTNAME=clone-1"]));
    assert_eq!(spec["linux"]["cgroupsPath"], "/default/clone-1");
    let namespaces = json!([{"type": "pid"}, {"type": "mount"}, {"type": "network"}]);
    assert_eq!(spec["linux"]["namespaces"], namespaces);
    assert_eq!(warnings, Vec::<String>::new());
}

#[test]
fn the_network_is_the_chosen_one() {
    let captured = config(json!({
        "ociVersion": "1.0.2", "process": {},
        "linux": { "namespaces": [{"type": "network", "path": "/x"}], "sysctl": {"net.a": "1", "kernel.b": "2"} },
    }));
    let (spec, _) = derive(&plan(&captured, &NetworkChoice::Host)).unwrap();
    assert_eq!(spec["linux"]["namespaces"], json!([]));
    assert_eq!(spec["linux"]["sysctl"], json!({"kernel.b": "2"}));
    let path = NetworkChoice::Path("/run/netns/a".to_owned());
    let (spec, _) = derive(&plan(&captured, &path)).unwrap();
    let joined = json!([{"type": "network", "path": "/run/netns/a"}]);
    assert_eq!(spec["linux"]["namespaces"], joined);
    assert_eq!(
        spec["linux"]["sysctl"],
        json!({"net.a": "1", "kernel.b": "2"})
    );
}

#[test]
fn systemd_keeps_its_slice() {
    let (spec, _) = with("linux", json!({"cgroupsPath": "system.slice:ctr:old"})).unwrap();
    assert_eq!(spec["linux"]["cgroupsPath"], "system.slice:ctr:clone-1");
    assert!(with("linux", json!({"cgroupsPath": "../x:ctr:old"})).is_err());
}

#[test]
fn what_is_not_allowed_is_left_out_and_said() {
    for (field, value, word) in [
        ("hooks", json!({"prestart": [{"path": "/bin/sh"}]}), "Hooks"),
        ("vm", json!({"kernel": {"path": "/x"}}), "`vm`"),
        ("process/selinuxLabel", json!("x"), "`process.selinuxLabel`"),
        ("linux", json!({"intelRdt": {}}), "`linux.intelRdt`"),
        (
            "annotations",
            json!({"cdi.k8s.io/gpu": "x"}),
            "cdi.k8s.io/gpu",
        ),
        (
            "annotations",
            json!({"org.criu.config": "/x"}),
            "org.criu.config",
        ),
        ("process/terminal", json!(true), "terminal"),
        (
            "linux",
            json!({"namespaces": [{"type": "ipc", "path": "/x"}]}),
            "ipc namespace",
        ),
    ] {
        let (spec, warnings) = with(field, value).unwrap();
        assert!(
            warnings.iter().any(|warning| warning.contains(word)),
            "{field}: {warnings:?}"
        );
        let text = spec.to_string();
        for gone in [
            "/bin/sh", "selinux", "intelRdt", "criu", "cdi", "\"/x\"", "true",
        ] {
            assert!(!text.contains(gone), "{field}: {text}");
        }
    }
}

#[test]
fn hostile_types_are_corrupt() {
    for (field, value) in [
        ("ociVersion", json!(1)),
        ("process", json!([])),
        ("process", Value::Null),
        ("process/args", json!("sh")),
        ("process/args", json!(["a\0b"])),
        ("process/user", json!({"uid": "root"})),
        ("process/oomScoreAdj", json!(1.5)),
        ("process/rlimits", json!([7])),
        ("root", json!({"readonly": "no"})),
        ("hostname", json!({})),
        ("annotations", json!({"a": 1})),
        ("linux", json!(7)),
        (
            "linux",
            json!({"namespaces": [{"type": "user", "path": "/proc/1/ns/user"}]}),
        ),
        ("linux", json!({"namespaces": [{"type": "host"}]})),
        ("linux", json!({"namespaces": {}})),
        ("linux", json!({"cgroupsPath": []})),
        ("linux", json!({"devices": [{"path": {}}]})),
        ("mounts", json!({"destination": "/"})),
    ] {
        let error = with(field, value.clone()).unwrap_err();
        let is_corrupt = matches!(
            error,
            crate::Error::Store(snap_store::Error::Corrupt { .. })
        );
        assert!(is_corrupt, "{field} = {value}: {error}");
    }
    assert!(derive(&plan(&config(Value::Null), &NONE)).is_err());
}

#[test]
fn deep_nesting_is_refused() {
    let mut deep = json!(1);
    for _ in 0..64 {
        deep = json!([deep]);
    }
    assert!(with("linux", json!({ "seccomp": deep })).is_err());
}

fn bind(destination: &str, source: &str) -> Value {
    json!([{"destination": destination, "type": "bind", "source": source, "options": ["rbind", "ro"]}])
}

#[test]
fn kernel_file_systems_and_system_paths_are_mounted_again() {
    for mounts in [
        json!([{"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"]}]),
        bind("/etc/resolv.conf", "/etc/hosts"),
        bind("/anywhere", "/dev/null"),
    ] {
        let (spec, warnings) = with("mounts", mounts.clone()).unwrap();
        assert_eq!((&spec["mounts"], warnings.len()), (&mounts, 0));
    }
}

#[test]
fn what_was_made_for_the_original_is_left_out() {
    let (spec, warnings) = with("mounts", bind("/etc/hosts", "/run/original/hosts")).unwrap();
    assert_eq!(spec["mounts"], json!([]));
    assert!(warnings[0].contains("/etc/hosts"));
    let (spec, _) = with("mounts", bind("/etc/hosts", "/etc/shadow")).unwrap();
    assert_eq!(spec["mounts"], json!([]));
}

#[test]
fn other_mounts_need_the_users_word() {
    let refused = |mounts: Value| match with("mounts", mounts) {
        Err(crate::Error::Report(report)) => report.reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(bind("/data", "/tmp")), "mount-without-policy");
    let overlay = json!([{"destination": "/data", "type": "overlay", "source": "overlay"}]);
    assert_eq!(refused(overlay), "mount-without-policy");
}

#[test]
fn the_users_word_decides() {
    let spec = json!({ "ociVersion": "1", "process": {}, "mounts": bind("/data", "/tmp") });
    let (mut captured, named) = (config(spec), ["/data/".to_owned()]);
    let derived = |plan: SpecPlan<'_>| derive(&plan).map(|(spec, _)| spec["mounts"].clone());
    let base = plan(&captured, &NONE);
    let kept = derived(SpecPlan {
        keep_mounts: &named,
        ..base.clone()
    })
    .unwrap();
    assert_eq!(kept, bind("/data", "/tmp"));
    let dropped = derived(SpecPlan {
        drop_mounts: &named,
        ..base.clone()
    })
    .unwrap();
    assert_eq!(dropped, json!([]));
    let unknown = ["/other".to_owned()];
    let error = derived(SpecPlan {
        drop_mounts: &unknown,
        ..base
    })
    .unwrap_err();
    assert!(error.to_string().ends_with("it has: /data"), "{error}");
    captured.included_mounts = vec!["/data".to_owned()];
    assert_eq!(derived(plan(&captured, &NONE)).unwrap(), json!([]));
}

#[test]
fn a_kept_mount_needs_its_source() {
    let spec = json!({ "ociVersion": "1", "process": {}, "mounts": bind("/data", "/no/such") });
    let (captured, named) = (config(spec), ["/data".to_owned()]);
    let plan = SpecPlan {
        keep_mounts: &named,
        ..plan(&captured, &NONE)
    };
    assert!(derive(&plan).unwrap_err().to_string().contains("/no/such"));
}

#[test]
fn host_names_fit_into_the_kernels_limit() {
    assert_eq!(hostname(&"a".repeat(76)).len(), 64);
    assert_eq!(hostname(&format!("{}-b", "a".repeat(63))), "a".repeat(63));
}
