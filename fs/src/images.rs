//! The memory of processes, as CRIU has written it, to a tree: a folder of nothing but files.
//!
//! Files of pages are cut between pages, so that what a second snapshot of the same processes finds unchanged costs nothing;
//! the small ones beside them are cut as any file. Nobody but root may read them wherever they are served again. With a key all of
//! them are sealed, small ones too: registers and paths are no less secret than pages.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use snap_store::{
    Draft, Entry, EntryName, Error, Meta, Node, Progress, Result, SealKey, TreeRef, TreeWriter,
};

/// Who may read an image, wherever it is served.
const MODE: u16 = 0o400;
/// Far more files than the processes of one container are written to; what has more is no folder of images.
const MAX_FILES: usize = 1 << 20;

/// Puts the images in `folder`, sealed when there is a key; returns their tree and the sum of their sizes in bytes.
pub fn put(
    draft: &Draft,
    folder: &Path,
    key: Option<&SealKey>,
    progress: &dyn Progress,
) -> Result<(TreeRef, u64)> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let name = entry.map_err(Error::io("read", folder))?.file_name();
        names.push(EntryName::new(name.as_bytes())?);
        if names.len() > MAX_FILES {
            return Err(invalid("there are too many of them"));
        }
    }
    names.sort_unstable();
    let mut writer = TreeWriter::new(draft);
    let mut bytes = 0;
    for name in names {
        let place = folder.join(OsStr::from_bytes(name.as_bytes()));
        let node = put_one(draft, &place, key, progress)?;
        if let Node::File { size, .. } = &node {
            bytes += size;
        }
        writer.push(&Entry {
            name,
            meta: Meta {
                mode: MODE,
                ..Meta::default()
            },
            node,
        })?;
        progress.advance(1, 0);
    }
    Ok((writer.finish()?, bytes))
}

fn put_one(
    draft: &Draft,
    path: &Path,
    key: Option<&SealKey>,
    progress: &dyn Progress,
) -> Result<Node> {
    let about = fs::symlink_metadata(path).map_err(Error::io("look at", path))?;
    if !about.is_file() {
        return Err(invalid("one of them is no file"));
    }
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let (content, size) = match (is_of_pages(path), key) {
        (true, None) => draft.put_pages(&mut file, progress)?,
        (false, None) => draft.put_content(&mut file, progress)?,
        (true, Some(key)) => draft.put_sealed_pages(key, &mut file, progress)?,
        (false, Some(key)) => draft.put_sealed_content(key, &mut file, progress)?,
    };
    Ok(Node::File {
        size,
        content,
        linked: false,
    })
}

/// `pages-N.img`; everything else has a structure of its own.
fn is_of_pages(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    name.starts_with(b"pages-") && name.ends_with(b".img")
}

fn invalid(why: &str) -> Error {
    Error::Invalid {
        what: "folder of memory images",
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use snap_store::{KeyFolder, Manifest, Memory, MemoryFacts, MemoryImages, Silent, SnapshotId};

    use super::*;
    use crate::{
        sample::{Sample, manifest},
        view::{ROOT, View, ViewOptions},
    };

    fn images(page: u8) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let pages: Vec<u8> = (0..100u8)
            .flat_map(|number| [number.wrapping_add(1); 4096])
            .chain([page; 4096])
            .collect();
        fs::write(folder.path().join("pages-1.img"), pages).unwrap();
        fs::write(folder.path().join("core-1.img"), [page]).unwrap();
        folder
    }

    /// A folder of keys with one for `default`, and that key.
    fn keys() -> (tempfile::TempDir, KeyFolder) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("default.key");
        fs::write(&path, format!("01{}\n", "5a".repeat(31))).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let keys = KeyFolder::new(folder.path());
        (folder, keys)
    }

    fn newest(keys: &KeyFolder) -> SealKey {
        keys.newest(&"default".parse().unwrap()).unwrap().unwrap()
    }

    fn commit(sample: &Sample, folder: &Path, key: Option<&SealKey>) -> Manifest {
        let id = SnapshotId::random();
        let draft = sample.store.begin(id).unwrap();
        let (root, bytes) = put(&draft, folder, key, &Silent).unwrap();
        let files = TreeWriter::new(&draft).finish().unwrap();
        let mut manifest = manifest(id, (files, Meta::default()), Default::default());
        manifest.memory = Some(Memory::Captured(Box::new(MemoryImages {
            root,
            bytes,
            facts: MemoryFacts::default(),
            seal: key.map(|key| key.seal(&root, bytes)),
        })));
        draft.commit(manifest).unwrap().0
    }

    fn open(sample: &Sample, id: &SnapshotId, keys: &KeyFolder) -> Result<View> {
        View::open_memory(sample.store.clone(), id, keys, &ViewOptions::default())
    }

    #[test]
    fn images_are_served_as_they_were_and_apart_from_the_files() {
        let (sample, folder, (_held, keys)) = (Sample::new(), images(7), keys());
        for key in [None, Some(&newest(&keys))] {
            let id = commit(&sample, folder.path(), key).id;
            let view = open(&sample, &id, &keys).unwrap();
            let found = view.lookup(ROOT, b"pages-1.img").unwrap().unwrap();
            assert_eq!((found.mode, found.uid), (MODE, 0));
            assert_eq!(view.attributes(ROOT).unwrap().mode, 0o500);
            let read = view.read(found.number, 0, 101 * 4096).unwrap();
            let image = fs::read(folder.path().join("pages-1.img")).unwrap();
            assert_eq!(read.to_vec(), image);
            let core = view.lookup(ROOT, b"core-1.img").unwrap().unwrap();
            assert_eq!(view.read(core.number, 0, 100).unwrap().to_vec(), [7]);
            let options = ViewOptions::default();
            let files = View::open(sample.store.clone(), &id, &options).unwrap();
            assert!(files.lookup(ROOT, b"pages-1.img").unwrap().is_none());
        }
    }

    #[test]
    fn what_is_sealed_is_closed_without_its_key_and_to_whoever_changes_its_tree() {
        let (sample, folder, (held, keys)) = (Sample::new(), images(7), keys());
        let manifest = commit(&sample, folder.path(), Some(&newest(&keys)));
        let mut forged = manifest.clone();
        forged.id = SnapshotId::random();
        let Some(Memory::Captured(images)) = &mut forged.memory else {
            panic!("it holds memory");
        };
        images.bytes += 1;
        let draft = sample.store.begin(forged.id).unwrap();
        draft.commit(forged.clone()).unwrap();
        let error = open(&sample, &forged.id, &keys).unwrap_err();
        assert!(matches!(error, Error::Corrupt { what: "Memory", .. }));
        fs::remove_file(held.path().join("default.key")).unwrap();
        let error = open(&sample, &manifest.id, &keys).unwrap_err();
        assert!(matches!(error, Error::MissingKey { .. }), "{error}");
    }

    /// Whoever looks after the store has no key.
    #[test]
    fn what_is_sealed_is_verified_and_collected_without_its_key() {
        let (sample, folder, (held, keys)) = (Sample::new(), images(7), keys());
        let manifest = commit(&sample, folder.path(), Some(&newest(&keys)));
        held.close().unwrap();
        collect(&sample);
        let verify = || crate::verify::verify(&sample.store, &manifest, &Silent).unwrap();
        assert_eq!(verify(), []);
        for pack in sample.store.packs().unwrap() {
            let pack = pack.to_string();
            let path = sample.folder.path().join("packs").join(&pack[..2]);
            flip(&path.join(format!("{pack}.pack")), 30);
        }
        let damaged = verify();
        let of_memory = |path: &[Vec<u8>]| path.first().is_some_and(|first| first == b"(memory)");
        assert!(damaged.iter().any(|place| of_memory(&place.path)));
        sample.store.remove_manifest(&manifest.id).unwrap();
        collect(&sample);
        assert_eq!(sample.store.stats().unwrap().packs, 0);
    }

    fn flip(path: &Path, at: usize) {
        let mut bytes = fs::read(path).unwrap();
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn a_collection_keeps_images_as_long_as_their_snapshot() {
        let (sample, folder) = (Sample::new(), images(7));
        let id = commit(&sample, folder.path(), None).id;
        collect(&sample);
        let manifest = sample.store.manifest(&id).unwrap();
        let damage = crate::verify::verify(&sample.store, &manifest, &Silent).unwrap();
        assert_eq!(damage, []);
        sample.store.remove_manifest(&id).unwrap();
        collect(&sample);
        assert_eq!(sample.store.stats().unwrap().packs, 0);
    }

    fn collect(sample: &Sample) {
        let options = snap_store::CollectOptions {
            grace: std::time::Duration::ZERO,
            ..Default::default()
        };
        for _ in 0..2 {
            sample
                .store
                .collect(&options, &|| Ok(Vec::new()), &Silent)
                .unwrap();
        }
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let (sample, folder) = (Sample::new(), images(7));
        symlink("/etc/passwd", folder.path().join("x.img")).unwrap();
        let draft = sample.store.begin(SnapshotId::random()).unwrap();
        assert!(put(&draft, folder.path(), None, &Silent).is_err());
    }
}
