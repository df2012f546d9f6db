//! `tree`, `diff` and `copy`: looking into snapshots without restoring them.

use std::{ffi::OsString, path::PathBuf};

use clap::Args;
use snap_api::{CopyRequest, DiffEntry, DiffKind, DiffRequest, PutRequest, TreeEntry, TreeRequest};

use crate::{
    failure::Failure,
    follow,
    screen::Form,
    session::{FOLDERS, Session, answer},
    values::{self, Copying},
    verbs::outcome,
    words::{clean, size},
};

/// Lists names inside a snapshot.
///
/// A folder's entries, or the file itself, as `ls -l` shows them: type and mode, owner, group, size (of a device: its
/// numbers), time of the last change, path. With --recursive everything below as well. Bytes of a name that are not UTF-8
/// and control characters are shown as \xNN.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl tree web:v1 /etc
  snapctl tree web:v1 --recursive -q | grep '\\.conf$'

With --quiet it prints paths alone; with --output json an array of entries.")]
pub(crate) struct TreeArgs {
    /// The snapshot
    #[arg(value_name = "REF")]
    reference: String,
    /// Where to start
    #[arg(value_name = "PATH", default_value = "/")]
    path: PathBuf,
    /// Descend into folders
    #[arg(long, short)]
    recursive: bool,
}

/// Shows what differs between two snapshots.
///
/// One line a path, `+` added, `-` removed, `M` content changed, `~` only owner, mode, times or attributes changed, `T` became
/// something of another type. Equal folders are skipped without being read, so that it takes as long as there are
/// differences. Differences are no error: the exit code is 0 with and without.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  snapctl diff web:v1 web:v2
  snapctl diff web:v1 web:v2 -o json | jq '.[] | select(.kind == \"added\") | .path'

With --quiet it prints the paths alone.")]
pub(crate) struct DiffArgs {
    /// The older snapshot
    #[arg(value_name = "FROM")]
    from: String,
    /// The newer snapshot
    #[arg(value_name = "TO")]
    to: String,
}

/// Copies a file or a folder out of a snapshot, or puts one of this host into a new version.
///
/// Out of a snapshot: everything it holds of it comes along: owners, modes, times, attributes, links, holes. The destination must not
/// exist, unless it is an empty folder; its parent must. What is half copied is removed again when the copy fails or is
/// cancelled with Ctrl-C. The daemon writes the files, so they are made with the captured owners.
///
/// SRC NAME:/PATH makes the next version of NAME: the newest one, with the file or folder SRC of this host at PATH, in the place of
/// what was there. No earlier version changes, only bytes the store does not have are stored, and NAME:latest moves to the new
/// version. Folders that are missing on the way are made; links in PATH are not followed. Memory of the newest version does not come along.
///
/// What begins with / or ./ is always on the host. Both are for root alone.
#[derive(Clone, Debug, Args)]
#[command(override_usage = "snapctl copy [OPTIONS] <REF:/PATH DEST | SRC NAME:/PATH>")]
#[command(after_long_help = "Examples:
  snapctl copy web:v1:/etc/nginx /tmp/nginx
  snapctl copy 3f2a91bc:/ /srv/whole-tree
  snapctl copy ./nginx.conf web:/etc/nginx/nginx.conf

With --quiet it prints nothing of what is copied out, and the id of a new version.")]
pub(crate) struct CopyArgs {
    /// The snapshot and the absolute path in it, or a file or folder of this host
    #[arg(value_name = "SRC")]
    source: OsString,
    /// Where to put it: a path of this host, or a name and the absolute path in its next version
    #[arg(value_name = "DEST")]
    destination: OsString,
    /// Do not wait for the end
    #[arg(long)]
    detach: bool,
}

impl CopyArgs {
    /// Which way is copied; the two arguments are only understood together.
    pub(crate) fn copying(self) -> Result<Copying, Failure> {
        let copying = values::copying(self.source, self.destination);
        copying.map_err(|why| Failure::usage("invalid-path", why))
    }
}

/// Runs `tree`.
pub(crate) async fn tree(session: &Session, args: TreeArgs) -> Result<(), Failure> {
    let path = values::from_root(&args.path);
    let fetch = async |cursor| {
        let request = TreeRequest {
            namespace: session.namespace.clone(),
            reference: args.reference.clone(),
            path: path.clone(),
            recursive: args.recursive,
            cursor,
            limit: 0,
        };
        answer(session.client.tree(session.soon(), request).await)
    };
    session.stream(fetch, tree_line).await
}

/// Runs `diff`.
pub(crate) async fn diff(session: &Session, args: DiffArgs) -> Result<(), Failure> {
    let fetch = async |cursor| {
        let request = DiffRequest {
            namespace: session.namespace.clone(),
            from: args.from.clone(),
            to: args.to.clone(),
            cursor,
            limit: 0,
        };
        answer(session.client.diff(session.soon(), request).await)
    };
    session.stream(fetch, diff_line).await
}

/// Runs `copy`.
pub(crate) async fn copy(session: &Session, args: CopyArgs) -> Result<(), Failure> {
    let waiting = args.detach.into();
    let followed = match args.copying()? {
        Copying::Out(from, to) => {
            let request = CopyRequest {
                namespace: session.namespace.clone(),
                reference: from.reference,
                path: from.path,
                destination: values::destination(&to),
            };
            let start = session.client.copy_start(session.soon(), request);
            follow::run(session, waiting, start).await?
        }
        Copying::In(from, to) => {
            session.require(FOLDERS)?;
            let request = PutRequest {
                namespace: session.namespace.clone(),
                source: values::folder(&from),
                name: to.reference,
                path: to.path,
            };
            let start = session.client.put_start(session.soon(), request);
            follow::run(session, waiting, start).await?
        }
    };
    outcome::show_followed(&session.screen, &followed)
}

pub(crate) fn tree_line(form: Form, entry: &TreeEntry) -> String {
    let path = clean(&entry.path.to_string());
    if form == Form::Quiet {
        return path;
    }
    let extent = match &entry.device {
        Some(numbers) => numbers.replace(':', ", "),
        None => size(entry.size),
    };
    let time: String = entry.modified_at.chars().take(19).collect();
    let target = match &entry.target {
        Some(target) => format!(" -> {}", clean(&target.to_string())),
        None => String::new(),
    };
    format!(
        "{}{} {:>5} {:>5} {:>10} {} {path}{target}",
        permissions(&entry.kind, &entry.mode),
        if entry.xattrs.is_empty() { ' ' } else { '+' },
        entry.uid,
        entry.gid,
        clean(&extent),
        clean(&time.replace('T', " ")),
    )
}

/// Type and mode as `ls -l` has them: `-rwsr-xr-x`.
fn permissions(kind: &str, mode: &str) -> String {
    let bits = u32::from_str_radix(mode, 8).unwrap_or(0);
    let kind = match kind {
        "file" => '-',
        "directory" => 'd',
        "symlink" => 'l',
        "char-device" => 'c',
        "block-device" => 'b',
        "fifo" => 'p',
        "socket" => 's',
        _ => '?',
    };
    let mut text = String::from(kind);
    for (shift, special, set, unset) in [
        (6, 0o4000, 's', 'S'),
        (3, 0o2000, 's', 'S'),
        (0, 0o1000, 't', 'T'),
    ] {
        let class = bits >> shift;
        text.push(if class & 4 == 0 { '-' } else { 'r' });
        text.push(if class & 2 == 0 { '-' } else { 'w' });
        text.push(match (bits & special != 0, class & 1 != 0) {
            (false, false) => '-',
            (false, true) => 'x',
            (true, false) => unset,
            (true, true) => set,
        });
    }
    text
}

fn diff_line(form: Form, entry: &DiffEntry) -> String {
    let path = clean(&entry.path.to_string());
    if form == Form::Quiet {
        return path;
    }
    let mark = match entry.kind {
        DiffKind::Added => '+',
        DiffKind::Removed => '-',
        DiffKind::Modified => 'M',
        DiffKind::Metadata => '~',
        DiffKind::Replaced => 'T',
    };
    let sizes = match (entry.kind, entry.old_size, entry.new_size) {
        (DiffKind::Modified, Some(old), Some(new)) if old != new => {
            format!(" ({} -> {})", size(old), size(new))
        }
        _ => String::new(),
    };
    format!("{mark} {path}{sizes}")
}

#[cfg(test)]
mod tests;
