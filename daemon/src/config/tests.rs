use std::fs;

use super::*;

fn load(arguments: &[&str]) -> Result<Config, ConfigError> {
    let all = ["snapshotd"].iter().chain(arguments);
    Config::load(&command().try_get_matches_from(all).unwrap())
}

/// The configuration of a file with this text, and of these flags.
fn load_file(text: &str, flags: &[&str]) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    fs::write(&path, text).unwrap();
    let mut arguments = vec!["--config", path.to_str().unwrap()];
    arguments.extend(flags);
    load(&arguments)
}

#[test]
fn flags_win_over_the_file_and_the_file_over_the_defaults() {
    let text = "expiry_interval = '5m'\nmount_threads = 8\n";
    let config = load_file(text, &["--mount-threads", "2"]).unwrap();
    assert_eq!(config.mount_threads, 2);
    assert_eq!(config.expiry_interval, Duration::from_secs(300));
    assert_eq!(config.snapshots_per_namespace, 100);
}

#[test]
fn the_printed_configuration_reads_back_the_same() {
    let text = "default_ttl = 'never'\nreserve_bytes = 12345\ngroup = 'ops'\nlog_format = 'json'";
    let config = load_file(text, &["--default-ttl", "90m"]).unwrap();
    assert_eq!(load_file(&config.to_toml(), &[]).unwrap(), config);
    assert_eq!(
        load_file(&Config::default().to_toml(), &[]).unwrap(),
        Config::default()
    );
}

#[test]
fn every_problem_is_named_with_its_key_and_its_place() {
    let text = "roott = '/x'\nmount_threads = 0\nstate = 'relative'\ngroup = ['a']";
    let error = load_file(text, &["--expiry-interval", "soon"])
        .unwrap_err()
        .to_string();
    assert_eq!(error.lines().count(), 5, "{error}");
    for part in [
        "roott in ",
        "no such key",
        "mount_threads in ",
        "between 1 and 64",
        "state in ",
        "not an absolute path",
        "group in ",
        "type array",
        "--expiry-interval = `soon`: it is not a duration",
    ] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
}

#[test]
fn values_out_of_range_are_refused() {
    for (flag, value) in [
        ("--default-ttl", "0s"),
        ("--default-ttl", "101years"),
        ("--default-ttl", "99999999999999years"),
        ("--expiry-interval", "0s"),
        ("--mount-cache-bytes", "64KB"),
        ("--mount-cache-bytes", "1KiB"),
        ("--prefetch-bytes", "2GiB"),
        ("--prefetch-rate", "0"),
        ("--reserve-bytes", "99999999999999999TiB"),
        ("--reserve-bytes", "-1"),
        ("--snapshots-per-namespace", "0"),
        ("--snapshots-per-namespace", "1e3"),
        ("--root", "/a/../b"),
        ("--root", ""),
        ("--socket", &format!("/{}", "x".repeat(108))),
        ("--log-format", "xml"),
        ("--memory-keys", "keys"),
        ("--encrypt-memory", "never"),
        ("--log-level", "loud=very=much"),
        ("--concurrent-captures", "0"),
        ("--backup-interval", "2years"),
        ("--backup-keep", "0"),
        ("--collect-grace", "soon"),
        ("--disk-high-percent", "101"),
        ("--disk-low-percent", "0"),
    ] {
        let error = load(&[&format!("{flag}={value}")]).unwrap_err();
        assert!(
            error.to_string().starts_with(flag),
            "{flag} {value}: {error}"
        );
    }
}

#[test]
fn sizes_and_durations_are_taken_as_people_write_them() {
    let config = load(&["--reserve-bytes", "2 GiB", "--default-ttl", "1day 12h"]).unwrap();
    assert_eq!(config.reserve_bytes, 2 << 30);
    assert_eq!(config.default_ttl, Some(Duration::from_secs(36 * 3600)));
}

#[test]
fn a_named_file_must_exist_and_be_toml() {
    let missing = load(&["--config", "/does/not/exist.toml"]).unwrap_err();
    assert!(missing.to_string().contains("cannot be read"), "{missing}");
    let broken = load_file("root = ", &[]).unwrap_err();
    assert!(broken.to_string().contains("is not TOML"), "{broken}");
}

#[test]
fn root_and_state_are_two_folders() {
    let error = load(&["--root", "/srv/x", "--state", "/srv/x/"]).unwrap_err();
    assert!(error.to_string().contains("the same folder"), "{error}");
}

#[test]
fn regular_work_is_turned_off_by_never_and_by_0() {
    for value in ["never", "0", "0s"] {
        let flags = ["--backup-interval", value, "--collect-interval", value];
        let config = load(&flags).unwrap();
        assert_eq!(
            (config.backup_interval, config.collect_interval),
            (None, None)
        );
    }
}

#[test]
fn the_low_mark_is_not_above_the_high_one() {
    let error = load(&["--disk-high-percent", "80"]).unwrap_err();
    assert!(
        error.to_string().contains("above disk_high_percent"),
        "{error}"
    );
    load(&["--disk-high-percent", "80", "--disk-low-percent", "80"]).unwrap();
}

#[test]
fn every_key_and_its_default_is_in_the_documentation() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let text = ["operations.md", "configuration.md"]
        .iter()
        .filter_map(|name| fs::read_to_string(folder.join(name)).ok())
        .collect::<String>();
    let defaults = Config::default();
    for key in Config::KEYS {
        let default = match (key.name, key.get(&defaults)) {
            ("mount_server", _) => "beside `snapshotd`".to_owned(),
            (_, empty) if empty.is_empty() => "none".to_owned(),
            (_, value) => format!("`{value}`"),
        };
        let row = format!("| `{}` | {default} | {} |", key.name, key.about);
        assert!(
            text.contains(&row),
            "docs/configuration.md lacks the line\n{row}"
        );
    }
}

#[test]
fn the_help_names_every_flag_and_exit_code() {
    let help = command().render_long_help().to_string();
    for key in Config::KEYS {
        assert!(help.contains(&format!("--{}", key.flag())), "{}", key.name);
        assert!(help.contains(&key.variable()), "{}", key.name);
    }
    assert!(help.contains("Exit codes:"));
}
