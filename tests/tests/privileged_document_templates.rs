//! docs/templates.md is true: its commands are run, in their order and as they stand, and print what the document says.
//!
//! Blocks of TOML whose first line names a file are that file. In a block of the console a line that begins with `# ` is a command, and those
//! behind it are what it prints, where `…` stands for anything and runs of spaces for one.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use snap_tests::{Answer, Host, Image, program};

const IMAGE: &str = "docker.io/library/debian:bookworm";

/// A fenced block: its language and its lines.
type Block<'a> = (&'a str, Vec<&'a str>);

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut found = Vec::new();
    let mut open: Option<Block<'_>> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(language), None) => open = Some((language, Vec::new())),
            (None, Some((_, lines))) => lines.push(line),
            (None, None) => {}
        }
    }
    found
}

/// The commands of a block, each with what it prints.
fn commands<'a>(lines: &[&'a str]) -> Vec<(&'a str, Vec<&'a str>)> {
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in lines {
        match (line.strip_prefix("# "), found.last_mut()) {
            (Some(command), _) => found.push((command, Vec::new())),
            (None, Some((_, printed))) => printed.push(line),
            (None, None) => {}
        }
    }
    found
}

/// Whether a line is as documented.
fn is_like(documented: &str, line: &str) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (documented, line) = (words(documented), words(line));
    let mut parts = documented.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in between {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Runs a command in the folder as a user of the host would. `ctr task exec` loses what a short process prints on a busy machine, so runc is
/// asked in its place.
fn run(host: &Host, folder: &Path, command: &str) -> Result<String> {
    let snapctl = program("snapctl")?;
    let tools = snapctl.parent().context("It is in a folder")?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(tools.to_owned()).chain(std::env::split_paths(&path));
    let script = format!(
        "ctr() {{ shift 4; id=$1; shift; runc --root /run/containerd/runc/{} exec \"$id\" \"$@\"; }}\n{command}",
        host.namespace()
    );
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(folder)
        .env("PATH", std::env::join_paths(path)?)
        .env("SNAPCTL_SOCKET", host.socket())
        .env("CONTAINERD_NAMESPACE", host.namespace())
        .stdin(Stdio::null())
        .output()
        .context("Run bash")?;
    Answer::new(command.to_owned(), &output).ok()
}

#[test]
fn the_document_is_true() -> Result<()> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/templates.md");
    let document = fs::read_to_string(document)?;
    let host = Host::start()?;
    host.import_layers(IMAGE, &[&Image::Debian.rootfs()?])?;
    let folder = host.make_folder("session")?;
    let mut run_commands = 0;
    for (language, lines) in blocks(&document) {
        if let (Some(name), "toml") = (
            lines.first().and_then(|line| line.strip_prefix("# ")),
            language,
        ) {
            fs::write(folder.join(name), lines.join("\n"))?;
        }
        if language != "console" {
            continue;
        }
        for (command, documented) in commands(&lines) {
            let printed = run(&host, &folder, command)?;
            let lines: Vec<&str> = printed.lines().collect();
            let is_true = lines.len() == documented.len()
                && documented
                    .iter()
                    .zip(&lines)
                    .all(|(one, other)| is_like(one, other));
            if !is_true {
                bail!(
                    "`{command}` printed\n{printed}\nand the document says\n{}",
                    documented.join("\n")
                );
            }
            run_commands += 1;
        }
    }
    assert!(run_commands > 20, "{run_commands} commands were run");
    Ok(())
}

#[test]
fn lines_are_compared_as_the_document_means_it() {
    assert!(is_like("Took  …", "Took      1.5 s"));
    assert!(is_like("From version 3 (…)", "From  version 3 (beef)"));
    assert!(is_like("a", "a") && !is_like("a", "ab") && !is_like("…b", "ba"));
}
