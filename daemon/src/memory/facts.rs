//! What decides whether processes can go on here: compared before a container is touched.

use std::{collections::BTreeSet, fs};

use snap_api::{ErrorCode, ErrorReport, NetworkChoice};
use snap_store::{ContainerConfig, Manifest, MemoryFacts};

use super::{criu, criu_log};
use crate::error::Result;

/// Beginnings of processor flags that name instructions or registers, which programs choose their code by. The others name
/// defects, counters and power states, and differ between kernels on one machine.
const INSTRUCTIONS: [&str; 36] = [
    "3dnow",
    "abm",
    "adx",
    "aes",
    "amx",
    "apx",
    "avx",
    "bmi",
    "cmov",
    "cmpccxadd",
    "cx16",
    "cx8",
    "erms",
    "f16c",
    "fma",
    "fsgsbase",
    "fsrm",
    "fxsr",
    "gfni",
    "lahf",
    "mmx",
    "movbe",
    "movdir",
    "mpx",
    "pclmul",
    "pku",
    "pni",
    "popcnt",
    "rdrand",
    "rdseed",
    "sha",
    "sse",
    "ssse",
    "vaes",
    "vpclmul",
    "xsave",
];
/// How many missing flags are named.
const NAMED: usize = 8;

/// The facts of this host, and of the CRIU that wrote `log`.
pub(super) fn read(log: &str) -> MemoryFacts {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    MemoryFacts {
        criu: criu_log::version(log).unwrap_or_default(),
        cgroup_version: cgroup_version(),
        cpu_flags: cpu_flags(&cpuinfo),
    }
}

/// Refuses memory that cannot be restored on this host, or not with this network.
pub(crate) async fn check(
    manifest: &Manifest,
    config: &ContainerConfig,
    network: &NetworkChoice,
) -> Result<()> {
    let Some(images) = manifest.memory_images() else {
        return Ok(());
    };
    let found = criu::found().await.map_err(|why| {
        let why = format!("there is no CRIU that can be run: {why}");
        unfit(manifest, &why)
    })?;
    let here = MemoryFacts {
        criu: found,
        ..read("")
    };
    let uname = rustix::system::uname();
    let architecture = uname.machine().to_string_lossy();
    if manifest.host.architecture != architecture {
        let why = format!(
            "it is of {} and this host is {architecture}",
            manifest.host.architecture
        );
        return Err(unfit(manifest, &why));
    }
    compare(&images.facts, &here).map_err(|why| unfit(manifest, &why))?;
    compare_network(config, network).map_err(|(why, hint)| {
        let message = format!(
            "The memory of snapshot {} cannot be restored with this network: {why}",
            manifest.id
        );
        ErrorReport::new(ErrorCode::Conflict, "memory-network", message)
            .hint(hint)
            .into()
    })
}

fn unfit(manifest: &Manifest, why: &str) -> crate::Error {
    let message = format!(
        "The memory of snapshot {} cannot be restored on this host: {why}",
        manifest.id
    );
    ErrorReport::new(ErrorCode::Conflict, "memory-unfit", message)
        .hint("Restore the files alone with --no-memory, or with --fallback where memory does not fit")
        .into()
}

fn compare(captured: &MemoryFacts, here: &MemoryFacts) -> Result<(), String> {
    if captured.cgroup_version != here.cgroup_version {
        return Err(format!(
            "it was captured in control groups of version {}, here they are version {}",
            captured.cgroup_version, here.cgroup_version
        ));
    }
    if criu::is_older(&here.criu, &captured.criu) {
        return Err(format!(
            "it was written by CRIU {}, here CRIU is {}",
            captured.criu, here.criu
        ));
    }
    let known: BTreeSet<&str> = here.cpu_flags.iter().map(String::as_str).collect();
    let missing: Vec<&str> = captured
        .cpu_flags
        .iter()
        .map(String::as_str)
        .filter(|flag| INSTRUCTIONS.iter().any(|name| flag.starts_with(name)))
        .filter(|flag| !known.contains(flag))
        .take(NAMED)
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(format!("its processor lacks {}", missing.join(", "))),
    }
}

/// Processes go on in the kind of network they were captured in: CRIU puts back what was theirs, and nothing that was not.
fn compare_network(
    config: &ContainerConfig,
    network: &NetworkChoice,
) -> Result<(), (&'static str, &'static str)> {
    let namespaces = config.spec.pointer("/linux/namespaces");
    let own = namespaces
        .and_then(|list| list.as_array())
        .and_then(|list| list.iter().find(|one| one["type"] == "network"));
    let joined = own.and_then(|one| one["path"].as_str());
    match (own, joined.is_some_and(|path| !path.is_empty()), network) {
        (None, _, NetworkChoice::Host)
        | (Some(_), false, NetworkChoice::None)
        | (Some(_), true, NetworkChoice::Path(_)) => Ok(()),
        (None, _, _) => Err((
            "the processes were in the host's network",
            "Add --network host, or --no-memory",
        )),
        (Some(_), true, _) => Err((
            "the processes were in a network that was made for them",
            "Name one with --network PATH, or add --no-memory",
        )),
        (Some(_), false, _) => Err((
            "the processes had a network of their own",
            "Leave --network out, or add --no-memory",
        )),
    }
}

/// As runc decides it: version 2 where nothing else is mounted there.
pub(crate) fn cgroup_version() -> u32 {
    const CGROUP2: u64 = 0x6367_7270;
    let magic = rustix::fs::statfs("/sys/fs/cgroup").map(|about| about.f_type);
    let is_unified = magic.is_ok_and(|magic| u64::try_from(magic).is_ok_and(|it| it == CGROUP2));
    if is_unified { 2 } else { 1 }
}

/// The flags of the first processor.
fn cpu_flags(cpuinfo: &str) -> Vec<String> {
    let line = cpuinfo.lines().find_map(|line| {
        let (name, flags) = line.split_once(':')?;
        matches!(name.trim(), "flags" | "Features").then_some(flags)
    });
    let flags = line.unwrap_or_default().split_ascii_whitespace();
    flags.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facts(flags: &[&str]) -> MemoryFacts {
        MemoryFacts {
            criu: "4.2".to_owned(),
            cgroup_version: 2,
            cpu_flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        }
    }

    #[test]
    fn a_processor_must_have_the_instructions_and_nothing_else() {
        let captured = facts(&["sse2", "avx512f", "ibrs", "tsc"]);
        assert_eq!(
            compare(&captured, &facts(&["avx512f", "sse2", "avx"])),
            Ok(())
        );
        let why = compare(&captured, &facts(&["sse2"])).unwrap_err();
        assert_eq!(why, "its processor lacks avx512f");
        let other = MemoryFacts {
            cgroup_version: 1,
            ..captured.clone()
        };
        assert!(compare(&captured, &other).is_err());
    }

    #[test]
    fn criu_must_not_be_older_than_what_wrote_the_memory() {
        let here = facts(&["sse2"]);
        let captured = |criu: &str| MemoryFacts {
            criu: criu.to_owned(),
            ..here.clone()
        };
        let why = compare(&captured("4.3"), &here).unwrap_err();
        assert_eq!(why, "it was written by CRIU 4.3, here CRIU is 4.2");
        for alike in ["4.2.1", "3.17.1", ""] {
            assert_eq!(compare(&captured(alike), &here), Ok(()));
        }
    }

    #[test]
    fn processes_go_on_in_the_kind_of_network_they_were_in() {
        let config = |namespaces: serde_json::Value| ContainerConfig {
            spec: json!({ "linux": { "namespaces": namespaces } }),
            ..crate::fixture::container()
        };
        let path = NetworkChoice::Path("/run/netns/a".to_owned());
        let own = config(json!([{ "type": "pid" }, { "type": "network" }]));
        let shared = config(json!([{ "type": "network", "path": "/run/netns/b" }]));
        let host = config(json!([{ "type": "pid" }]));
        let fits = |config, choice| compare_network(config, choice).is_ok();
        for (config, fitting) in [(&own, 0), (&host, 1), (&shared, 2)] {
            for (number, choice) in [&NetworkChoice::None, &NetworkChoice::Host, &path]
                .into_iter()
                .enumerate()
            {
                assert_eq!(fits(config, choice), number == fitting);
            }
        }
    }

    #[test]
    fn flags_are_read_of_the_first_processor() {
        let cpuinfo = "processor\t: 0\nflags\t\t: fpu sse\n\nprocessor\t: 1\nflags\t\t: other\n";
        assert_eq!(cpu_flags(cpuinfo), ["fpu", "sse"]);
        assert_eq!(cpu_flags("Features\t: neon\n"), ["neon"]);
        assert_eq!(cpu_flags(""), [""; 0]);
        assert!([1, 2].contains(&cgroup_version()));
    }
}
