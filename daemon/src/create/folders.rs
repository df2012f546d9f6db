//! From what a snapshotter says of a container's snapshot to the folders its files are in.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use snap_store::{BaseLayer, ContainerConfig, Namespace};

use super::subject::Root;
use crate::{
    containerd::{Fault, Mount},
    error::Result,
    host::Host,
};

/// A layer below a writable one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    /// Where its files are.
    pub(super) folder: PathBuf,
    /// What the merged tree of it and those below it is remembered by.
    pub(super) key: String,
    /// What containerd calls it, or the topmost one when it is not known which it is.
    pub(super) origin: Option<BaseLayer>,
}

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
    let (mounts, info) = tokio::try_join!(
        containerd.snapshot_mounts(namespace, snapshotter, key),
        containerd.snapshot(namespace, snapshotter, key)
    )?;
    let parent = info.parent;
    let [mount] = &mounts[..] else {
        let why = format!("it has {} mounts instead of one", mounts.len());
        return Err(refused(key, why).into());
    };
    let root = match mount.kind.as_str() {
        "bind" => Root::Folder(PathBuf::from(&mount.source)),
        "overlay" => match Overlay::read(&mount.options) {
            Some(overlay) => {
                let chain = chain(host, namespace, snapshotter, &parent).await?;
                Root::Overlay {
                    upper: overlay.upper,
                    layers: name_layers(overlay.lower, &chain),
                }
            }
            None => return Err(refused(key, "its mount has no upper folder".to_owned()).into()),
        },
        _ => Root::Foreign(mount.clone()),
    };
    config.parent = parent;
    Ok(root)
}

/// The committed snapshots from `parent` down, the topmost first.
async fn chain(
    host: &Host,
    namespace: &Namespace,
    snapshotter: &str,
    parent: &str,
) -> Result<Vec<BaseLayer>> {
    let mut layers = Vec::new();
    let mut next = parent.to_owned();
    while !next.is_empty() && layers.len() < MAX_LAYERS {
        let info = host
            .containerd
            .snapshot(namespace, snapshotter, &next)
            .await?;
        layers.push(BaseLayer {
            namespace: namespace.clone(),
            snapshotter: snapshotter.to_owned(),
            name: next,
            created: info.created_at,
        });
        next = info.parent;
    }
    Ok(layers)
}

/// Gives each folder a key, the lowest first. A folder is one snapshot of the chain for most snapshotters; where it is not,
/// the topmost snapshot and the folder's place below it name it just as well.
fn name_layers(lower: Vec<PathBuf>, chain: &[BaseLayer]) -> Vec<Layer> {
    let is_one_each = lower.len() == chain.len();
    let count = lower.len();
    let named = lower.into_iter().enumerate().map(|(index, folder)| {
        let origin = match is_one_each {
            true => chain.get(index),
            false => chain.first(),
        };
        let mut key = origin.map_or_else(String::new, |layer| {
            format!("{} {} {}", layer.snapshotter, layer.name, layer.created)
        });
        if !is_one_each {
            key.push_str(&format!(" {index}/{count} {}", folder.display()));
        }
        Layer {
            folder,
            key,
            origin: origin.cloned(),
        }
    });
    let mut layers: Vec<_> = named.collect();
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

/// The folders that mounts of a snapshotter read, the topmost first.
pub(crate) fn folders_of(mounts: &[Mount]) -> Vec<PathBuf> {
    let folders = mounts.iter().flat_map(|mount| match mount.kind.as_str() {
        "bind" => vec![PathBuf::from(&mount.source)],
        "overlay" => Overlay::read(&mount.options).map_or_else(Vec::new, |overlay| {
            let upper = std::iter::once(overlay.upper);
            upper.chain(overlay.lower).collect()
        }),
        _ => Vec::new(),
    });
    folders.collect()
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
        let chain = ["t", "l"].map(|name| BaseLayer {
            namespace: "default".parse().unwrap(),
            snapshotter: "overlayfs".to_owned(),
            name: name.to_owned(),
            created: "1".to_owned(),
        });
        let layers = name_layers(lower(), &chain);
        assert_eq!(layers[0].folder, PathBuf::from("/low"));
        assert_eq!(
            (&*layers[0].key, &layers[0].origin),
            ("overlayfs l 1", &Some(chain[1].clone()))
        );
        assert_eq!(
            (&*layers[1].key, &layers[1].origin),
            ("overlayfs t 1", &Some(chain[0].clone()))
        );
        let layers = name_layers(lower(), &chain[..1]);
        assert_eq!(layers[1].key, "overlayfs t 1 0/2 /top");
        assert_eq!(layers[0].origin.as_ref(), chain.first());
    }
}
