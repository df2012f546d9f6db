//! From what a snapshotter says of a container's snapshot to the folders its files are in.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use snap_store::{ContainerConfig, Namespace};

use super::subject::Root;
use crate::{containerd::Fault, error::Result, host::Host};

/// The layers below a writable one, the lowest first, each with the key its merged tree is remembered by.
pub(super) type Layers = Vec<(PathBuf, String)>;

/// Longer chains of layers than any snapshotter makes.
const MAX_LAYERS: usize = 512;

/// Where the files of the container's snapshot are; notes the snapshot's parent in `config`.
pub(super) async fn of_snapshot(
    host: &Host,
    namespace: &Namespace,
    config: &mut ContainerConfig,
    key: &str,
) -> Result<Root> {
    let (containerd, snapshotter) = (&host.containerd, &config.snapshotter);
    let mounts = containerd
        .snapshot_mounts(namespace, snapshotter, key)
        .await?;
    let parent = containerd
        .snapshot(namespace, snapshotter, key)
        .await?
        .parent;
    let [mount] = &mounts[..] else {
        let why = format!("it has {} mounts instead of one", mounts.len());
        return Err(refused(key, why).into());
    };
    let root = match mount.kind.as_str() {
        "bind" => Root::Folder(PathBuf::from(&mount.source)),
        "overlay" => match Overlay::read(&mount.options) {
            Some(overlay) => {
                let keys = chain(host, namespace, snapshotter, &parent).await?;
                Root::Overlay {
                    upper: overlay.upper,
                    layers: name_layers(snapshotter, overlay.lower, &keys),
                }
            }
            None => return Err(refused(key, "its mount has no upper folder".to_owned()).into()),
        },
        _ => Root::Foreign(mount.clone()),
    };
    config.parent = parent;
    Ok(root)
}

/// The committed snapshots from `parent` down, the topmost first, each as its name and the time it was made.
async fn chain(
    host: &Host,
    namespace: &Namespace,
    snapshotter: &str,
    parent: &str,
) -> Result<Vec<String>> {
    let mut keys = Vec::new();
    let mut next = parent.to_owned();
    while !next.is_empty() && keys.len() < MAX_LAYERS {
        let info = host
            .containerd
            .snapshot(namespace, snapshotter, &next)
            .await?;
        keys.push(format!("{next} {}", info.created_at));
        next = info.parent;
    }
    Ok(keys)
}

/// Gives each folder a key. A folder is one snapshot of the chain for most snapshotters; where it is not, the
/// topmost snapshot and the folder's place below it name it just as well.
fn name_layers(snapshotter: &str, lower: Vec<PathBuf>, chain: &[String]) -> Layers {
    let is_one_each = lower.len() == chain.len();
    let count = lower.len();
    let named = lower.into_iter().enumerate().map(|(index, folder)| {
        let key = match chain.get(index).filter(|_| is_one_each) {
            Some(own) => format!("{snapshotter} {own}"),
            None => {
                let top = chain.first().map_or("", String::as_str);
                format!("{snapshotter} {top} {index}/{count} {}", folder.display())
            }
        };
        (folder, key)
    });
    let mut layers: Layers = named.collect();
    layers.reverse();
    layers
}

/// The folders of an overlay mount.
#[derive(Debug, PartialEq, Eq)]
struct Overlay {
    upper: PathBuf,
    /// The topmost first.
    lower: Vec<PathBuf>,
}

impl Overlay {
    /// Reads the options of an overlay; `None` when it has no upper folder, or keeps its marks where the layers of
    /// another container may hold attributes of their own (`userxattr`): such a one is captured as it is seen.
    fn read(options: &[String]) -> Option<Self> {
        if options.iter().any(|option| option == "userxattr") {
            return None;
        }
        let value = |name: &str| options.iter().find_map(|option| option.strip_prefix(name));
        Some(Self {
            upper: PathBuf::from(unescape(value("upperdir=")?)),
            lower: split_lower(value("lowerdir=").unwrap_or_default()),
        })
    }
}

/// Splits `a:b:c` where the colon is not escaped.
fn split_lower(value: &str) -> Vec<PathBuf> {
    let mut paths = vec![String::new()];
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        let last = paths.last_mut().expect("there is always a path under way");
        match character {
            '\\' => last.extend(characters.next()),
            ':' => paths.push(String::new()),
            plain => last.push(plain),
        }
    }
    let named = paths.into_iter().filter(|path| !path.is_empty());
    named.map(PathBuf::from).collect()
}

fn unescape(value: &str) -> String {
    let mut characters = value.chars();
    let mut plain = String::with_capacity(value.len());
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.extend(characters.next()),
            other => plain.push(other),
        }
    }
    plain
}

/// The file of the stat cache of a source: its key and the folder's inode, so that a folder made anew is another.
pub(super) fn cache_path(root: &Path, key: &str, folder: (u64, u64)) -> PathBuf {
    let digest = Sha256::digest(format!("{key} {} {}", folder.0, folder.1));
    let name: String = digest[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    root.join("cache").join("stat").join(name)
}

fn refused(key: &str, why: String) -> Fault {
    Fault::Refused {
        op: "find the folders of snapshot",
        name: key.to_owned(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[&str]) -> Option<Overlay> {
        let options: Vec<_> = options.iter().map(|option| (*option).to_owned()).collect();
        Overlay::read(&options)
    }

    #[test]
    fn options_of_the_overlayfs_snapshotter_are_understood() {
        let overlay = read(&[
            "index=off",
            "workdir=/s/3/work",
            "upperdir=/s/3/fs",
            "lowerdir=/s/2/fs:/s/1/fs",
        ]);
        let expected = Overlay {
            upper: "/s/3/fs".into(),
            lower: vec!["/s/2/fs".into(), "/s/1/fs".into()],
        };
        assert_eq!(overlay, Some(expected));
    }

    #[test]
    fn escaped_colons_belong_to_the_path() {
        let overlay = read(&[r"upperdir=/a\:b\\", r"lowerdir=/c\:d:/e"]).unwrap();
        assert_eq!(overlay.upper, PathBuf::from(r"/a:b\"));
        assert_eq!(overlay.lower, [PathBuf::from("/c:d"), PathBuf::from("/e")]);
    }

    #[test]
    fn a_view_has_no_upper_folder() {
        assert_eq!(read(&["lowerdir=/a:/b"]), None);
    }

    #[test]
    fn an_overlay_of_a_user_namespace_is_not_taken_apart() {
        assert_eq!(read(&["userxattr", "upperdir=/u", "lowerdir=/a"]), None);
    }

    #[test]
    fn layers_stand_lowest_first_under_the_key_of_their_snapshot() {
        let lower = || vec![PathBuf::from("/top"), PathBuf::from("/low")];
        let chain = ["t 1".to_owned(), "l 1".to_owned()];
        let layers = name_layers("overlayfs", lower(), &chain);
        assert_eq!(layers[0], ("/low".into(), "overlayfs l 1".to_owned()));
        assert_eq!(layers[1], ("/top".into(), "overlayfs t 1".to_owned()));
        let layers = name_layers("other", lower(), &chain[..1]);
        assert_eq!(layers[1], ("/top".into(), "other t 1 0/2 /top".to_owned()));
    }
}
