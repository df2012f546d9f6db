//! From file, environment and flags to one [`Config`]; every problem is named with its key and where it came from.

#[cfg(any(test, feature = "fuzz"))]
mod fuzz;

use std::{
    fmt,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use clap::{Arg, ArgAction, ArgMatches, Command, parser::ValueSource};

use super::{Config, Key};
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use fuzz::fuzz;

/// The file that is read unless another is named; it need not exist.
pub const CONFIG_PATH: &str = "/etc/snapshotd/config.toml";

const ABOUT: &str = "Snapshots running containerd containers and restores them lazily";
const LONG_ABOUT: &str = "\
Snapshots running containerd containers and restores them lazily.

snapshotd captures the file systems of running containers as compressed chunks, each stored once, and brings \
them back as new containers that read their data only when they touch it. It listens on a Unix socket; \
`snapctl` is its command.

Every setting has a flag, an environment variable and a line in the configuration file. Flags win over \
variables, variables over the file, the file over the defaults. Unknown keys in the file are errors.";
const AFTER_HELP: &str = "\
Signals:
  TERM, INT   Stop: nothing new is accepted, running jobs are cancelled and undone, mounts and restored
              containers go on
  HUP         Reload: the files of auto_policies are read again, and every mount server is replaced with the
              installed binary, under use

Exit codes:
  0  Stopped as it was told to
  1  Something it cannot go on without failed while it ran
  2  A flag, a variable or the configuration file is wrong
  3  The store or the catalogue cannot be opened: damaged, of a later release, or in use by another snapshotd
  4  The socket cannot be had: another daemon listens there, or the path cannot be written

Files:
  /etc/snapshotd/config.toml     Configuration, TOML
  /etc/snapshotd/auto.d          Which containers are captured when they end, TOML
  /var/lib/snapshotd             Store and catalogue; holds everything that matters
  /run/snapshotd/snapshotd.sock  The socket";

/// What is wrong with the configuration: one line a problem.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    problems: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

/// The daemon's command line.
#[must_use]
pub fn command() -> Command {
    let defaults = Config::default();
    let flag = |key: &Key| {
        let default = key.get(&defaults);
        let help = match (key.name, default.as_str()) {
            ("mount_server", _) | (_, "") => key.about.to_owned(),
            (_, default) => format!("{} [default: {default}]", key.about),
        };
        Arg::new(key.name)
            .long(key.flag())
            .env(key.variable())
            .hide_env_values(true)
            .value_name("VALUE")
            .help(help)
    };
    Command::new("snapshotd")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .long_about(LONG_ABOUT)
        .after_long_help(AFTER_HELP)
        .arg(
            Arg::new("config")
                .long("config")
                .env("SNAPSHOTD_CONFIG")
                .hide_env_values(true)
                .value_name("FILE")
                .help(format!("Configuration file [default: {CONFIG_PATH}]")),
        )
        .args(Config::KEYS.iter().map(flag))
        .arg(
            Arg::new("check-config")
                .long("check-config")
                .action(ArgAction::SetTrue)
                .help("Print the configuration that would be used, and exit"),
        )
        .arg(
            Arg::new("restore-catalogue")
                .long("restore-catalogue")
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Put a backup in the place of the catalogue while no daemon runs on the store, and exit"),
        )
        .arg(
            Arg::new("repair-catalogue")
                .long("repair-catalogue")
                .action(ArgAction::SetTrue)
                .conflicts_with("restore-catalogue")
                .help("Make a damaged catalogue anew from the manifests while no daemon runs on the store, and exit; the damaged one is kept"),
        )
}

impl Config {
    /// The configuration that the parsed command line, the environment it saw and the file amount to.
    ///
    /// # Errors
    /// Names every key whose value is not allowed, and every key that is none.
    pub fn load(matches: &ArgMatches) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let mut problems = Vec::new();
        match read_file(matches.get_one::<String>("config")) {
            Ok(values) => config.apply_file(&values, &mut problems),
            Err(problem) => problems.push(problem),
        }
        for key in Self::KEYS {
            let Some(value) = matches.get_one::<String>(key.name) else {
                continue;
            };
            let origin = match matches.value_source(key.name) {
                Some(ValueSource::EnvVariable) => key.variable(),
                _ => format!("--{}", key.flag()),
            };
            config.apply(key, value, &origin, &mut problems);
        }
        if config.root == config.state {
            problems.push("root and state are the same folder: choose two".to_owned());
        }
        if config.disk_low_percent > config.disk_high_percent {
            problems.push("disk_low_percent is above disk_high_percent".to_owned());
        }
        match problems.is_empty() {
            true => Ok(config),
            false => Err(ConfigError { problems }),
        }
    }

    fn apply_file(&mut self, file: &File, problems: &mut Vec<String>) {
        for (name, value) in &file.values {
            let origin = format!("{} in {}", name, file.path.display());
            let Some(key) = Self::KEYS.iter().find(|key| key.name == name) else {
                problems.push(format!("{origin}: there is no such key"));
                continue;
            };
            match value {
                toml::Value::String(text) => self.apply(key, text, &origin, problems),
                toml::Value::Integer(number) => {
                    self.apply(key, &number.to_string(), &origin, problems);
                }
                other => problems.push(format!(
                    "{origin}: it is of type {}, a string or a number is needed",
                    other.type_str()
                )),
            }
        }
    }

    fn apply(&mut self, key: &Key, value: &str, origin: &str, problems: &mut Vec<String>) {
        if let Err(why) = key.set(self, value) {
            problems.push(format!("{origin} = `{value}`: {why}"));
        }
    }
}

#[derive(Debug, Default)]
struct File {
    path: PathBuf,
    values: toml::Table,
}

/// The file's keys; none when nobody named a file and there is none at the usual place.
fn read_file(named: Option<&String>) -> Result<File, String> {
    let path = Path::new(named.map_or(CONFIG_PATH, String::as_str));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() => {
            return Ok(File::default());
        }
        Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
    };
    let values = text
        .parse()
        .map_err(|error| format!("{} is not TOML: {error}", path.display()))?;
    Ok(File {
        path: path.to_owned(),
        values,
    })
}
