//! The memory of processes, as CRIU has written it, to a tree: a folder of nothing but files.
//!
//! Files of pages are cut between pages, so that what a second snapshot of the same processes finds unchanged costs nothing;
//! the small ones beside them are cut as any file. Nobody but root may read them wherever they are served again.

use std::{
    fs::{self, File},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use snap_store::{
    Draft, Entry, EntryName, Error, Meta, Node, Progress, Result, TreeRef, TreeWriter,
};

/// Who may read an image, wherever it is served.
const MODE: u16 = 0o400;
/// Far more files than the processes of one container are written to; what has more is no folder of images.
const MAX_FILES: usize = 1 << 20;

/// Puts the images in `folder`; returns their tree and the sum of their sizes in bytes.
pub fn put(draft: &Draft, folder: &Path, progress: &dyn Progress) -> Result<(TreeRef, u64)> {
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
        let node = put_one(draft, folder, &name, progress)?;
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
    folder: &Path,
    name: &EntryName,
    progress: &dyn Progress,
) -> Result<Node> {
    let path = folder.join(std::ffi::OsStr::from_bytes(name.as_bytes()));
    let about = fs::symlink_metadata(&path).map_err(Error::io("look at", &path))?;
    if !about.is_file() {
        return Err(invalid("one of them is no file"));
    }
    let mut file = File::open(&path).map_err(Error::io("open", &path))?;
    let (content, size) = match is_of_pages(name.as_bytes()) {
        true => draft.put_pages(&mut file, progress)?,
        false => draft.put_content(&mut file, progress)?,
    };
    Ok(Node::File {
        size,
        content,
        linked: false,
    })
}

/// `pages-N.img`; everything else has a structure of its own.
fn is_of_pages(name: &[u8]) -> bool {
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
    use std::os::unix::fs::symlink;

    use snap_store::{Manifest, Memory, MemoryFacts, MemoryImages, Silent, SnapshotId};

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

    fn commit(sample: &Sample, folder: &Path) -> Manifest {
        let id = SnapshotId::random();
        let draft = sample.store.begin(id).unwrap();
        let (root, bytes) = put(&draft, folder, &Silent).unwrap();
        let files = TreeWriter::new(&draft).finish().unwrap();
        let mut manifest = manifest(id, (files, Meta::default()), Default::default());
        manifest.memory = Some(Memory::Captured(Box::new(MemoryImages {
            root,
            bytes,
            facts: MemoryFacts::default(),
        })));
        draft.commit(manifest).unwrap().0
    }

    #[test]
    fn images_are_served_as_they_were_and_apart_from_the_files() {
        let (sample, folder) = (Sample::new(), images(7));
        let id = commit(&sample, folder.path()).id;
        let options = ViewOptions::default();
        let view = View::open_memory(sample.store.clone(), &id, &options).unwrap();
        let found = view.lookup(ROOT, b"pages-1.img").unwrap().unwrap();
        assert_eq!((found.mode, found.uid), (MODE, 0));
        assert_eq!(view.attributes(ROOT).unwrap().mode, 0o500);
        let read = view.read(found.number, 0, 101 * 4096).unwrap();
        let image = fs::read(folder.path().join("pages-1.img")).unwrap();
        assert_eq!(read.to_vec(), image);
        let files = View::open(sample.store, &id, &options).unwrap();
        assert!(files.lookup(ROOT, b"pages-1.img").unwrap().is_none());
    }

    #[test]
    fn a_collection_keeps_images_as_long_as_their_snapshot() {
        let (sample, folder) = (Sample::new(), images(7));
        let id = commit(&sample, folder.path()).id;
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
        assert!(put(&draft, folder.path(), &Silent).is_err());
    }
}
