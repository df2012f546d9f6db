//! What a template may say: checked by who reads the file, and again by the daemon.

use std::path::{Component, Path};

use super::{Base, Command, CopyStep, GitStep, Step, Template, parse::invalid};
use crate::error::ErrorReport;

const MAX_STEPS: usize = 100;
const MAX_TEXT_BYTES: usize = 64 * 1024;
const MAX_PATH_BYTES: usize = 4095;
const MAX_WORDS: usize = 1000;
const MAX_VARIABLES: usize = 1000;
const MAX_PATTERNS: usize = 1000;
const MAX_KEEP: u32 = 1000;
const MAX_PROBE_SECONDS: u64 = 60 * 60;
const MAX_USER_BYTES: usize = 128;

type Checked = Result<(), String>;

impl Template {
    /// Checks what serde cannot: that each value makes sense, and that they go together. Names of snapshots, labels and times to live are
    /// the daemon's to check, as everywhere.
    ///
    /// # Errors
    /// `invalid-template`, naming the field.
    pub fn check(&self) -> Result<(), ErrorReport> {
        self.checked().map_err(invalid)
    }

    fn checked(&self) -> Checked {
        base(&self.base)?;
        if self.steps.len() > MAX_STEPS {
            return Err(format!("there are more than {MAX_STEPS} steps"));
        }
        for (index, one) in self.steps.iter().enumerate() {
            step(one).map_err(|why| format!("step {}: {why}", index + 1))?;
        }
        environment(self)?;
        if let Some(own) = &self.command {
            command(own).map_err(|why| format!("`command` {why}"))?;
        }
        if let Some(who) = &self.user {
            user(who)?;
        }
        if let Some(folder) = &self.workdir {
            inner_path(folder).map_err(|why| format!("`workdir` {why}"))?;
        }
        patterns(&self.exclude)?;
        if !(1..=MAX_KEEP).contains(&self.keep) {
            return Err(format!("`keep` is not between 1 and {MAX_KEEP}"));
        }
        self.check_version()?;
        self.check_probe()
    }

    fn check_version(&self) -> Checked {
        let Some(version) = &self.version else {
            return Ok(());
        };
        let plain = version.replace("{branch}", "").replace("{commit}", "");
        if version.is_empty() || version.len() > 128 || plain.contains(['{', '}']) {
            return Err(format!(
                "`version` is `{version}`: a tag, in which {{branch}} and {{commit}} may stand"
            ));
        }
        let has_repository = self.steps.iter().any(|step| step.git.is_some());
        if plain != *version && !has_repository {
            return Err("`version` speaks of a repository, and no step clones one".to_owned());
        }
        Ok(())
    }

    fn check_probe(&self) -> Checked {
        if self.memory && (self.probe.is_none() || self.command.is_none()) {
            let why = "`memory` needs a `command`, whose processes are captured, and a `probe` that says when";
            return Err(why.to_owned());
        }
        let Some(probe) = &self.probe else {
            return Ok(());
        };
        command(&probe.run).map_err(|why| format!("`probe.run` {why}"))?;
        match probe.timeout_seconds {
            1..=MAX_PROBE_SECONDS => Ok(()),
            _ => Err(format!(
                "`probe.timeout_seconds` is not between 1 and {MAX_PROBE_SECONDS}"
            )),
        }
    }
}

fn base(base: &Base) -> Checked {
    match (&base.image, &base.snapshot) {
        (Some(name), None) | (None, Some(name)) => text(name, MAX_PATH_BYTES, "`base`"),
        _ => Err("`base` has either an `image` or a `snapshot`".to_owned()),
    }
}

fn step(step: &Step) -> Checked {
    if let Some(name) = &step.name {
        text(name, 200, "`name`")?;
    }
    if let Some(who) = &step.user {
        user(who)?;
    }
    match (&step.run, &step.copy, &step.git) {
        (Some(run), None, None) => command(run).map_err(|why| format!("`run` {why}")),
        (None, Some(copy), None) => copied(copy),
        (None, None, Some(git)) => cloned(git),
        _ => Err("it has one of `run`, `copy` and `git`".to_owned()),
    }
}

fn copied(copy: &CopyStep) -> Checked {
    text(&copy.from, MAX_PATH_BYTES, "`copy.from`")?;
    destination(&copy.to).map_err(|why| format!("`copy.to` {why}"))?;
    patterns(&copy.exclude)
}

/// What begins with `-` would be an option of git.
fn cloned(git: &GitStep) -> Checked {
    text(&git.repository, MAX_PATH_BYTES, "`git.repository`")?;
    if git.repository.starts_with('-') {
        return Err("`git.repository` begins with `-`".to_owned());
    }
    if let Some(branch) = &git.branch {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/+@#".contains(&byte);
        if branch.is_empty()
            || branch.starts_with('-')
            || branch.len() > 250
            || !branch.bytes().all(is_plain)
        {
            return Err(format!(
                "`git.branch` is `{}`, no name of a branch",
                branch.escape_debug()
            ));
        }
    }
    destination(&git.to).map_err(|why| format!("`git.to` {why}"))
}

fn command(command: &Command) -> Checked {
    let is_text = |word: &String| word.len() <= MAX_TEXT_BYTES && !word.contains('\0');
    let is_command = match command {
        Command::Line(line) => !line.trim().is_empty() && is_text(line),
        Command::Words(words) => {
            let first = words.first();
            first.is_some_and(|first| !first.is_empty())
                && words.len() <= MAX_WORDS
                && words.iter().all(is_text)
        }
    };
    match is_command {
        true => Ok(()),
        false => Err(format!(
            "is no command: a line for the shell or a list of words, {MAX_TEXT_BYTES} bytes each at most"
        )),
    }
}

fn environment(template: &Template) -> Checked {
    if template.env.len() > MAX_VARIABLES {
        return Err(format!("`env` has more than {MAX_VARIABLES} variables"));
    }
    for (name, value) in &template.env {
        let is_name = !name.is_empty() && name.len() <= 250 && !name.contains(['=', '\0']);
        if !is_name || value.len() > MAX_TEXT_BYTES || value.contains('\0') {
            return Err(format!(
                "`env` has `{}`, which is no variable",
                name.escape_debug()
            ));
        }
    }
    Ok(())
}

fn user(who: &str) -> Checked {
    let is_word = |word: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        !word.is_empty() && word.bytes().all(plain)
    };
    let mut words = who.splitn(2, ':');
    match who.len() <= MAX_USER_BYTES && words.all(is_word) {
        true => Ok(()),
        false => Err(format!(
            "`user` is `{}`: USER, UID, USER:GROUP or UID:GID",
            who.escape_debug()
        )),
    }
}

/// The name something is given: the root itself is there already.
fn destination(path: &str) -> Checked {
    inner_path(path)?;
    match Path::new(path).file_name() {
        Some(_) => Ok(()),
        None => Err("is the root itself".to_owned()),
    }
}

fn inner_path(path: &str) -> Checked {
    let is_plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    let is_path = path.starts_with('/')
        && path.len() <= MAX_PATH_BYTES
        && !path.contains('\0')
        && Path::new(path).components().all(is_plain);
    match is_path {
        true => Ok(()),
        false => Err("is not an absolute path without `..`".to_owned()),
    }
}

fn patterns(patterns: &[String]) -> Checked {
    let is_short = |pattern: &String| pattern.len() <= MAX_PATH_BYTES;
    match patterns.len() <= MAX_PATTERNS && patterns.iter().all(is_short) {
        true => Ok(()),
        false => Err(format!(
            "`exclude` has more than {MAX_PATTERNS} patterns, or one of more than {MAX_PATH_BYTES} bytes"
        )),
    }
}

fn text(value: &str, most: usize, field: &str) -> Checked {
    match !value.is_empty() && value.len() <= most && !value.contains(char::is_control) {
        true => Ok(()),
        false => Err(format!(
            "{field} is empty, longer than {most} bytes, or has control characters"
        )),
    }
}
