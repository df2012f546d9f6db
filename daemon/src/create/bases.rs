//! Base layers: captured once per host, outside any pause, and remembered by the snapshots they are.
//!
//! Captures of bases take turns. Two containers of one image that are captured at the same time would otherwise
//! read it twice, and one capture alone keeps every core busy.

use std::{
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use snap_fs::capture::{self, Exclude, Source, SourceKind, StatCache};
use snap_store::{BaseRecord, Draft, Progress, Result as StoreResult, Store};
use tokio::sync::Mutex;
use tracing::info;

use super::{
    parts,
    subject::{Root, Subject},
};
use crate::{blocking, clock, error::Result, host::Host, jobs::JobHandle};

static TURN: Mutex<()> = Mutex::const_new(());

/// The merged tree of everything below the writable layer of `subject`, or of the part that is wanted; `None` when there is nothing
/// below it.
pub(super) async fn ensure(
    host: &Host,
    draft: Draft,
    subject: &Subject,
    exclude: &[String],
    job: &JobHandle,
) -> Result<(Draft, Option<BaseRecord>)> {
    let layers = match &subject.root {
        Root::Folder(_) | Root::Foreign(_) | Root::Trees(_) => return Ok((draft, None)),
        Root::Restored { snapshot, .. } => {
            let manifest = host.store.manifest(snapshot)?;
            let base = BaseRecord {
                root: manifest.root,
                root_meta: manifest.root_meta,
                links: manifest.links,
                logical_bytes: manifest.logical_bytes,
            };
            return Ok((draft, Some(base)));
        }
        Root::Overlay { layers, .. } => layers.clone(),
    };
    let (store, catalogue) = (host.store.clone(), host.catalogue.clone());
    let (wanted, job) = (Wanted::new(exclude, &subject.top), job.clone());
    let _turn = TURN.lock().await;
    let capturing = move || -> StoreResult<_> {
        let mut base = None;
        let mut first = 0;
        for (index, layer) in layers.iter().enumerate().rev() {
            for key in wanted.keys(&layer.key) {
                let known = catalogue.use_base(&key, clock::now())?;
                base = base.or(known.filter(|base| is_whole(&store, base)));
            }
            if base.is_some() {
                first = index + 1;
                break;
            }
        }
        for layer in layers.iter().skip(first) {
            job.phase("base layers");
            let next = capture_layer(&draft, &layer.folder, base.as_ref(), &wanted, &job)?;
            draft.publish_chunks()?;
            let key = wanted.key(&layer.key);
            catalogue.put_base(&key, &next, layer.origin.as_ref(), clock::now())?;
            info!(layer = %layer.folder.display(), nodes = next.root.nodes, "Captured a base layer");
            base = Some(next);
        }
        Ok((draft, base))
    };
    blocking(capturing).await
}

/// One layer over those below it.
fn capture_layer(
    draft: &Draft,
    folder: &Path,
    base: Option<&BaseRecord>,
    wanted: &Wanted,
    progress: &dyn Progress,
) -> StoreResult<BaseRecord> {
    let opened = parts::open(folder)?;
    let exclude = Exclude::new(&wanted.exclude)?.all_but(&parts::names(&wanted.top));
    let source = Source {
        folder: opened.as_fd(),
        kind: SourceKind::OverlayLayer,
        exclude: &exclude,
    };
    let mut cache = StatCache::default();
    let scan = capture::read(draft, &source, &mut cache, progress)?;
    let tree = capture::build(draft, scan, base, &mut cache, progress)?;
    Ok(BaseRecord {
        root: tree.root,
        root_meta: tree.root_meta,
        links: tree.links,
        logical_bytes: tree.logical_bytes,
    })
}

/// What of a layer is wanted.
struct Wanted {
    /// Patterns of what is left out.
    exclude: Vec<String>,
    /// The folder that alone is wanted; `/` for all.
    top: PathBuf,
}

impl Wanted {
    fn new(exclude: &[String], top: &Path) -> Self {
        Self {
            exclude: exclude.to_vec(),
            top: top.to_owned(),
        }
    }

    /// What a base of this is remembered by. Patterns count from the folder, so those of another one leave out something else.
    fn key(&self, layer: &str) -> String {
        match self.is_part() {
            false => with_exclude(layer, &self.exclude),
            true => {
                let below = format!("{layer} below {}", digest(self.top.as_os_str().as_bytes()));
                with_exclude(&below, &self.exclude)
            }
        }
    }

    /// What any base is remembered by that serves: one of everything holds every part.
    fn keys(&self, layer: &str) -> Vec<String> {
        let mut keys = vec![self.key(layer)];
        if self.is_part() && self.exclude.is_empty() {
            keys.push(layer.to_owned());
        }
        keys
    }

    fn is_part(&self) -> bool {
        self.top != Path::new("/")
    }
}

/// A base with something left out is another base.
fn with_exclude(key: &str, exclude: &[String]) -> String {
    if exclude.is_empty() {
        return key.to_owned();
    }
    format!("{key} without {}", digest(exclude.join("\0").as_bytes()))
}

/// Stands for a text of any length.
fn digest(text: &[u8]) -> String {
    let digest = Sha256::digest(text);
    digest[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// False when the catalogue remembers what the store has lost, as after one of them was restored from a copy. The draft
/// began before it is asked, and holds on to what is found until the snapshot, or a new base's row, can be seen.
fn is_whole(store: &Store, base: &BaseRecord) -> bool {
    store.is_whole(&base.root.digest).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusions_make_another_base() {
        let plain = with_exclude("overlayfs a 1", &[]);
        let less = with_exclude("overlayfs a 1", &["var/cache".to_owned()]);
        assert_eq!(plain, "overlayfs a 1");
        assert_ne!(plain, less);
        assert_ne!(less, with_exclude("overlayfs a 1", &["var".to_owned()]));
    }

    #[test]
    fn a_part_is_another_base_that_all_of_it_can_stand_for() {
        let wanted = |top: &str, exclude: &[&str]| {
            let exclude: Vec<_> = exclude.iter().map(ToString::to_string).collect();
            Wanted::new(&exclude, Path::new(top)).keys("overlayfs a 1")
        };
        assert_eq!(wanted("/", &[]), ["overlayfs a 1"]);
        let part = wanted("/srv", &[]);
        assert_eq!((part.len(), &*part[1]), (2, "overlayfs a 1"));
        assert_ne!(part[0], wanted("/etc", &[])[0]);
        // The same patterns mean something else in a folder.
        let less = wanted("/srv", &["x"]);
        assert_eq!(less.len(), 1);
        assert_ne!(less, wanted("/", &["x"]));
    }
}
