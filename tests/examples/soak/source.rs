//! What is captured: a running container or a folder, whose files are changed from outside.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{FileExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use snap_tests::Dice;

/// Files of a source lie in this many folders,
const FOLDERS: u64 = 4;
/// under this many names in each.
const NAMES: u64 = 6;

/// What is captured.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A running container.
    Container(String),
    /// A folder of the host.
    Folder(PathBuf),
}

/// Random bytes of which every second 4 KiB compress well.
fn bytes(dice: &mut Dice, length: usize) -> Vec<u8> {
    let mut content = Vec::with_capacity(length + 4);
    while content.len() < length {
        let is_plain = content.len() / 4096 % 2 == 1;
        let number = if is_plain {
            7
        } else {
            dice.below(u64::MAX) as u32
        };
        content.extend(number.to_le_bytes());
    }
    content.truncate(length);
    content
}

/// Most files are small, some large.
fn length(dice: &mut Dice) -> usize {
    let most = match dice.below(20) {
        0 => 6 << 20,
        1..5 => 1 << 20,
        _ => 64 << 10,
    };
    dice.below(most) as usize
}

/// Makes a few changes below `root`; returns the bytes written.
///
/// # Errors
/// When the file system refuses one.
pub(crate) fn change(root: &Path, dice: &mut Dice) -> Result<u64> {
    let mut written = 0;
    for _ in 0..=dice.below(6) {
        let (one, other) = (name(root, dice), name(root, dice));
        for path in [&one, &other] {
            fs::create_dir_all(path.parent().context("A name has a folder")?)?;
        }
        written +=
            change_one(&one, &other, dice).with_context(|| format!("Change {}", one.display()))?;
    }
    Ok(written)
}

fn name(root: &Path, dice: &mut Dice) -> PathBuf {
    let (folder, file) = (dice.below(FOLDERS), dice.below(NAMES));
    root.join(format!("soak/d{folder}/f{file}"))
}

fn change_one(one: &Path, other: &Path, dice: &mut Dice) -> Result<u64> {
    let is_file = fs::symlink_metadata(one).is_ok_and(|about| about.is_file());
    match dice.below(10) {
        0 => absent_is_fine(fs::remove_file(one))?,
        1 if one != other && is_file => fs::rename(one, other)?,
        2 if one != other && is_file => {
            absent_is_fine(fs::remove_file(other))?;
            make_new(one)?;
            fs::hard_link(one, other)?;
        }
        3 => {
            absent_is_fine(fs::remove_file(one))?;
            symlink(format!("../{}", dice.below(100)), one)?;
        }
        4 if is_file => {
            let mode = 0o600 + dice.below(64) as u32;
            fs::set_permissions(one, Permissions::from_mode(mode))?;
        }
        5 if is_file => {
            let file = OpenOptions::new().write(true).open(one)?;
            file.set_len(dice.below(2 << 20))?;
        }
        6 if is_file => {
            let (content, offset) = (bytes(dice, 5000), dice.below(1 << 20));
            let file = OpenOptions::new().write(true).open(one)?;
            file.write_all_at(&content, offset)?;
            return Ok(content.len() as u64);
        }
        7 => absent_is_fine(fs::remove_dir_all(one.parent().context("It has a folder")?))?,
        _ => {
            // A link is not followed: what it names is not ours.
            absent_is_fine(fs::remove_file(one))?;
            let length = length(dice);
            let content = bytes(dice, length);
            File::create(one)?.write_all_at(&content, 0)?;
            return Ok(content.len() as u64);
        }
    }
    Ok(0)
}

/// What is linked to a file of a lower layer may show another inode number than it, so a copy takes its place first.
fn make_new(one: &Path) -> io::Result<()> {
    let copy = one.with_extension("copy");
    fs::copy(one, &copy)?;
    fs::rename(&copy, one)
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
