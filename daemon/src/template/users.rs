//! Users of a container by the names it has for them.

use std::{fs::File, io::Read, path::Path};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use snap_api::{ErrorCode, ErrorReport};

use crate::error::{Error, Result};

/// More of a list of users than any container has.
const MAX_LIST_BYTES: u64 = 16 << 20;

/// The ids of `USER`, `UID`, `USER:GROUP` or `UID:GID` in the root at `rootfs`. A number without a group has its own number, unless the
/// list of users gives it one.
///
/// # Errors
/// `unknown-user` when the root's lists do not have the name.
pub(super) fn resolve(rootfs: &Path, who: &str) -> Result<(u32, u32)> {
    let (user, group) = match who.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (who, None),
    };
    let users = list(rootfs, "etc/passwd")?;
    let named = find(&users, user, 3);
    let uid: u32 = match user.parse() {
        Ok(uid) => uid,
        Err(_) => named
            .and_then(|entry| entry.get(2)?.parse().ok())
            .ok_or_else(|| unknown("user", user))?,
    };
    let gid: u32 = match group {
        Some(group) => match group.parse() {
            Ok(gid) => gid,
            Err(_) => {
                let groups = list(rootfs, "etc/group")?;
                let entry = find(&groups, group, 2);
                entry
                    .and_then(|entry| entry.get(2)?.parse().ok())
                    .ok_or_else(|| unknown("group", group))?
            }
        },
        None => {
            let by_id = users
                .lines()
                .map(|line| line.split(':').collect::<Vec<_>>());
            let mut by_id = by_id.filter(|entry| entry.get(2) == Some(&uid.to_string().as_str()));
            let entry = by_id.next();
            entry
                .and_then(|entry| entry.get(3)?.parse().ok())
                .unwrap_or(uid)
        }
    };
    Ok((uid, gid))
}

/// The fields of the first entry of that name.
fn find<'a>(list: &'a str, name: &str, least: usize) -> Option<Vec<&'a str>> {
    let entries = list.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut entries = entries.filter(|entry| entry.len() > least);
    entries.find(|entry| entry[0] == name)
}

/// A list that is not there names nobody. Links in the root lead nowhere outside of it.
fn list(rootfs: &Path, name: &str) -> Result<String> {
    let root = File::open(rootfs).map_err(Error::io("open", rootfs))?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let Ok(opened) = rustix::fs::openat2(&root, name, flags, Mode::empty(), resolve) else {
        return Ok(String::new());
    };
    let opened = File::from(opened);
    let path = rootfs.join(name);
    let about = opened.metadata().map_err(Error::io("look at", &path))?;
    if !about.is_file() {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    let read = opened.take(MAX_LIST_BYTES).read_to_end(&mut bytes);
    read.map_err(Error::io("read", &path))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn unknown(kind: &str, name: &str) -> ErrorReport {
    let message = format!("the environment has no {kind} `{name}`");
    ErrorReport::new(ErrorCode::NotFound, "unknown-user", message)
        .hint("A step before it can make one, or give a number")
}
