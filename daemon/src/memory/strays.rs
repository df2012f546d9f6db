//! Processes of CRIU that nobody waits for any more.
//!
//! They are never killed: a task that CRIU has stopped in the middle of its work would go on with CRIU's code in it. They end by
//! themselves, and are waited for.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How often they are looked for.
const LOOK: Duration = Duration::from_millis(100);

/// Waits until no process works in `folder`; false when one still does after `limit`.
pub(crate) async fn gone(folder: &Path, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        let looked = folder.to_owned();
        let look = tokio::task::spawn_blocking(move || any_in(&looked));
        // A look that panics has seen nobody, and the deadline is kept either way.
        let works = look.await.unwrap_or(false);
        if !works || Instant::now() >= deadline {
            return !works;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// True when a process has its working folder, or an open file, in `folder`. Those of this process do not count.
fn any_in(folder: &Path) -> bool {
    let own = std::process::id().to_string();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut others = processes.filter(|entry| {
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default();
        name.bytes().all(|byte| byte.is_ascii_digit()) && name != own
    });
    others.any(|process| works_in(&process.path(), folder))
}

fn works_in(process: &Path, folder: &Path) -> bool {
    let is_in = |link: PathBuf| fs::read_link(link).is_ok_and(|target| target.starts_with(folder));
    if is_in(process.join("cwd")) {
        return true;
    }
    let open = fs::read_dir(process.join("fd")).into_iter().flatten();
    open.flatten().any(|entry| is_in(entry.path()))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[tokio::test]
    async fn a_process_is_waited_for_as_long_as_it_works_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let mut worker = Command::new("cat")
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        assert!(!gone(&folder, Duration::ZERO).await);
        drop(worker.stdin.take());
        worker.wait().unwrap();
        assert!(gone(&folder, Duration::ZERO).await);
    }
}
