//! Repositories: what a branch stands at, and a clone of it. git runs here, as whoever calls the command, and never in the daemon.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use snap_api::{ErrorCode, ErrorReport, GitStep};

use crate::{failure::Failure, screen::note, words::clean};

/// A clone in a folder of its own, which goes with it.
#[derive(Debug)]
pub(crate) struct Clone {
    folder: PathBuf,
}

/// The commit that the branch stands at.
pub(crate) fn head(git: &GitStep) -> Result<String, Failure> {
    let wanted = match &git.branch {
        Some(branch) => format!("refs/heads/{branch}"),
        None => "HEAD".to_owned(),
    };
    let mut command = program();
    command.args(["ls-remote", "--quiet", "--", &git.repository, &wanted]);
    let told = run(command, &git.repository)?;
    let mut lines = told.lines().filter_map(|line| line.split_once('\t'));
    let found = lines.find(|(_, name)| *name == wanted);
    match found {
        Some((commit, _)) => Ok(commit.to_owned()),
        None => {
            let branch = git.branch.as_deref().unwrap_or("HEAD");
            let message = format!("{} has no branch {branch}", clean(&git.repository));
            Err(ErrorReport::new(ErrorCode::NotFound, "branch-not-found", message).into())
        }
    }
}

impl Clone {
    /// Clones the branch as it stands, without its history, when that is at this commit.
    pub(crate) fn make(git: &GitStep, commit: &str) -> Result<Self, Failure> {
        let name = format!(
            "snapctl-clone-{}-{}",
            std::process::id(),
            &commit[..12.min(commit.len())]
        );
        let folder = std::env::temp_dir().join(name);
        let made = fs::DirBuilder::new().mode(0o700).create(&folder);
        made.map_err(|error| Failure::io("make", &folder, &error))?;
        let clone = Self { folder };
        let folder = clone.path();
        let mut command = program();
        command.args([
            "clone",
            "--quiet",
            "--depth",
            "1",
            "--single-branch",
            "--no-tags",
        ]);
        if let Some(branch) = &git.branch {
            command.args(["--branch", branch]);
        }
        command.arg("--").arg(source(&git.repository)).arg(&folder);
        note(&format!("Cloning {}", clean(&git.repository)));
        run(command, &git.repository)?;
        let mut command = program();
        command.arg("-C").arg(&folder).args(["rev-parse", "HEAD"]);
        match run(command, &git.repository)?.trim() == commit {
            true => Ok(clone),
            false => {
                let message = format!(
                    "{} has moved on while it was cloned",
                    clean(&git.repository)
                );
                Err(
                    ErrorReport::new(ErrorCode::Conflict, "changed-meanwhile", message)
                        .hint("run it again")
                        .into(),
                )
            }
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join("clone")
    }
}

impl Drop for Clone {
    fn drop(&mut self) {
        // A folder of temporary files; who looks after those finds it.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A path as git takes it for a remote one: by a plain path it would link the files of the other repository.
fn source(repository: &str) -> String {
    match Path::new(repository).is_absolute() {
        true => format!("file://{repository}"),
        false => repository.to_owned(),
    }
}

/// A path that begins at `folder` unless it is absolute, without `.` and `..`.
pub(crate) fn absolute(folder: &Path, path: &str) -> String {
    use std::path::Component;
    let mut whole = PathBuf::new();
    for part in folder.join(path).components() {
        match part {
            Component::ParentDir => {
                whole.pop();
            }
            Component::CurDir => {}
            part => whole.push(part),
        }
    }
    whole.to_string_lossy().into_owned()
}

fn program() -> Command {
    let mut command = Command::new("git");
    command
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C")
        .stdin(Stdio::null());
    command
}

fn run(mut command: Command, repository: &str) -> Result<String, Failure> {
    let output = command.output().map_err(|error| {
        ErrorReport::new(ErrorCode::Unavailable, "no-git", "Cannot run git")
            .caused_by(&error)
            .hint("install git: the template clones a repository")
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = format!("git cannot read {}", clean(repository));
    let mut report = ErrorReport::new(ErrorCode::Unavailable, "git-failed", message);
    let said = String::from_utf8_lossy(&output.stderr);
    report.causes = said.lines().take(10).map(str::to_owned).collect();
    Err(report.into())
}
