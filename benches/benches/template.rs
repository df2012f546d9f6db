//! How long does it take to have an environment, with a package installed and a repository cloned, that was built before?
//!
//! One yardstick is the build of the same template from nothing: the base image is there, the package and the repository are fetched. The
//! other is `ctr run` of the bare base, which has none of it.
//! It installs from Debian's archive, so it needs a network, and is the only benchmark that does; each sample is a build.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};
use criterion::{Criterion, SamplingMode};
use snap_benches::{OURS, criterion, host_of_containers, timed};
use snap_tests::{Host, Image};

const TEMPLATE: &str = r#"
name = "environment"
network = "host"
command = ["sleep", "1000000"]
[base]
image = "IMAGE"
[env]
DEBIAN_FRONTEND = "noninteractive"
[[steps]]
git = { repository = "./repository", branch = "main", to = "/srv/app" }
[[steps]]
run = "apt-get update -q && apt-get install -q -y --no-install-recommends jq"
"#;

fn git(folder: &std::path::Path, arguments: &[&str]) -> Result<()> {
    let status = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args([
            "-c",
            "user.name=bench",
            "-c",
            "user.email=bench@example.org",
        ])
        .args(arguments)
        .status()
        .context("Run git")?;
    ensure!(status.success(), "git {arguments:?} ended with {status}");
    Ok(())
}

/// The template's file, beside its repository.
fn prepare(host: &Host) -> Result<PathBuf> {
    let repository = host.make_folder("repository")?;
    git(&repository, &["init", "--quiet", "--initial-branch=main"])?;
    for number in 0..500 {
        let text = format!("file {number}\n").repeat(200);
        fs::write(repository.join(format!("file-{number}")), text)?;
    }
    git(&repository, &["add", "."])?;
    git(&repository, &["commit", "--quiet", "--message", "All"])?;
    let file = host.folder().join("environment.toml");
    let image = host.image(Image::Debian)?;
    fs::write(&file, TEMPLATE.replace("IMAGE", image))?;
    Ok(file)
}

fn environment_from_template(criterion: &mut Criterion, host: &Host) -> Result<()> {
    let file = prepare(host)?;
    let file = file.to_str().context("The path is UTF-8")?;
    host.snap(&["template", "build", file])?;
    let mut group = criterion.benchmark_group("environment_from_template");
    let run = |(): &()| host.snap(&["run", "environment", "--id", "one"]);
    let remove = |(), _| host.snap(&["container", "remove", "one"]).map(drop);
    group.bench_function(OURS, |bencher| {
        bencher.iter_custom(|times| timed(times, || Ok(()), run, remove));
    });
    let image = host.image(Image::Debian)?;
    group.bench_function("ctr run of the base", |bencher| {
        let bare = |(): &()| host.run("bare", image, "sleep 1000000");
        let remove = |(), ()| host.remove_by_ctr("bare");
        bencher.iter_custom(|times| timed(times, || Ok(()), bare, remove));
    });
    group.sampling_mode(SamplingMode::Flat);
    group.bench_function("clone and install", |bencher| {
        bencher.iter_custom(|times| {
            let build = |(): &()| {
                host.snap(&["template", "build", file, "--no-cache"])?;
                run(&())
            };
            timed(times, || Ok(()), build, remove)
        });
    });
    group.finish();
    Ok(())
}

fn main() -> Result<()> {
    let mut criterion = criterion();
    let host = host_of_containers()?;
    environment_from_template(&mut criterion, &host)?;
    criterion.final_summary();
    Ok(())
}
