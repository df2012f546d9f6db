//! Base layers: captured once per host, outside any pause, and remembered by the snapshots they are.
//!
//! Captures of bases take turns. Two containers of one image that are captured at the same time would otherwise
//! read it twice, and one capture alone keeps every core busy.

use std::path::Path;

use sha2::{Digest, Sha256};
use snap_fs::capture::{self, Exclude, Source, SourceKind, StatCache};
use snap_store::{BaseRecord, Draft, Progress, Result as StoreResult, Store};
use std::os::fd::AsFd;
use tokio::sync::Mutex;
use tracing::info;

use super::{
    folders::Layer,
    parts,
    subject::{Root, Subject},
};
use crate::{blocking, clock, error::Result, host::Host, jobs::JobHandle};

static TURN: Mutex<()> = Mutex::const_new(());

/// The merged tree of everything below the writable layer of `subject`; `None` when there is nothing below it.
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
    let (exclude, job) = (exclude.to_vec(), job.clone());
    let _turn = TURN.lock().await;
    let capturing = move || -> StoreResult<_> {
        let mut base = None;
        let key = |layer: &Layer| with_exclude(&layer.key, &exclude);
        let mut first = 0;
        for (index, layer) in layers.iter().enumerate().rev() {
            let known = catalogue.use_base(&key(layer), clock::now())?;
            base = known.filter(|base| is_whole(&store, base));
            if base.is_some() {
                first = index + 1;
                break;
            }
        }
        for layer in layers.iter().skip(first) {
            job.phase("base layers");
            let next = capture_layer(&draft, &layer.folder, base.as_ref(), &exclude, &job)?;
            draft.publish_chunks()?;
            catalogue.put_base(&key(layer), &next, layer.origin.as_ref(), clock::now())?;
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
    exclude: &[String],
    progress: &dyn Progress,
) -> StoreResult<BaseRecord> {
    let opened = parts::open(folder)?;
    let exclude = Exclude::new(exclude)?;
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

/// A base with something left out is another base.
fn with_exclude(key: &str, exclude: &[String]) -> String {
    if exclude.is_empty() {
        return key.to_owned();
    }
    let digest = Sha256::digest(exclude.join("\0"));
    let digest: String = digest[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{key} without {digest}")
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
}
