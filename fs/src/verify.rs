//! Re-reading a snapshot against its digests; goes on after damage and says which paths are hit.
//!
//! A digest is remembered as checked only when everything it leads to is sound: a folder or file that is
//! met again, here or in the next snapshot, is passed over whole.

#[cfg(test)]
mod tests;

use std::{collections::HashSet, sync::Arc, vec};

use snap_store::{
    Content, ContentReader, Digest, Entry, Error, Leaf, Manifest, Node, Progress, Result, Store,
    TreeReader, TreeRef,
};

/// One damaged place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Components of the path of the file or folder.
    pub path: Vec<Vec<u8>>,
    /// What is wrong.
    pub problem: String,
}

/// Checks every chunk `manifest` needs that is not in `checked` yet; presence alone unless `full`.
pub fn verify(
    store: &Store,
    manifest: &Manifest,
    full: bool,
    checked: &mut HashSet<Digest>,
    progress: &dyn Progress,
) -> Result<Vec<Damaged>> {
    progress.phase("Verify");
    progress.expect_bytes(manifest.logical_bytes);
    let walk = Walk {
        store,
        reader: TreeReader::new(store.clone(), manifest.root),
        depth: if full { Depth::Bytes } else { Depth::Presence },
        checked,
        progress,
        path: Vec::new(),
        stack: Vec::new(),
        damaged: Vec::new(),
    };
    walk.run(manifest.root)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Presence,
    Bytes,
}

struct Walk<'a> {
    store: &'a Store,
    reader: TreeReader,
    depth: Depth,
    checked: &'a mut HashSet<Digest>,
    progress: &'a dyn Progress,
    path: Vec<Vec<u8>>,
    stack: Vec<Folder>,
    damaged: Vec<Damaged>,
}

/// A folder under way.
struct Folder {
    pages: Vec<Digest>,
    leaves: vec::IntoIter<Leaf>,
    entries: vec::IntoIter<Arc<Entry>>,
    /// Nothing in it or below it is damaged so far.
    is_sound: bool,
    /// Its own pages have been reported.
    is_reported: bool,
}

impl Walk<'_> {
    fn run(mut self, root: TreeRef) -> Result<Vec<Damaged>> {
        self.enter(root)?;
        while !self.stack.is_empty() {
            if self.progress.is_cancelled() {
                return Err(Error::Cancelled);
            }
            match self.next()? {
                Some(entry) => self.check(&entry)?,
                None => self.leave(),
            }
        }
        Ok(self.damaged)
    }

    /// Begins a folder: checks its pages, and puts it on the stack when they can be walked.
    fn enter(&mut self, tree: TreeRef) -> Result<()> {
        if self.checked.contains(&tree.digest) {
            self.path.pop();
            return Ok(());
        }
        let reader = &self.reader;
        let walked = reader
            .pages(&tree)
            .and_then(|pages| Ok((pages, reader.leaves(&tree, 0)?)));
        let mut folder = Folder {
            pages: Vec::new(),
            leaves: Vec::new().into_iter(),
            entries: Vec::new().into_iter(),
            is_sound: true,
            is_reported: false,
        };
        let outcome = walked.and_then(|(pages, leaves)| {
            folder.leaves = leaves.into_iter();
            pages.iter().try_for_each(|page| self.is_there(page))?;
            folder.pages = pages;
            Ok(())
        });
        self.stack.push(folder);
        outcome.or_else(|error| self.report_folder(error))
    }

    /// The next entry of the folder on top; a page that cannot be read is reported and passed over.
    fn next(&mut self) -> Result<Option<Arc<Entry>>> {
        while let Some(folder) = self.stack.last_mut() {
            if let Some(entry) = folder.entries.next() {
                return Ok(Some(entry));
            }
            let Some(leaf) = folder.leaves.next() else {
                return Ok(None);
            };
            match self.reader.leaf_entries(&leaf) {
                Ok(entries) => {
                    let entries = entries.into_iter().map(|located| located.entry);
                    folder.entries = entries.collect::<Vec<_>>().into_iter();
                }
                Err(error) => self.report_folder(error)?,
            }
        }
        Ok(None)
    }

    fn check(&mut self, entry: &Entry) -> Result<()> {
        self.path.push(entry.name.as_bytes().to_vec());
        match entry.node {
            Node::Directory(tree) => {
                self.progress.advance(1, 0);
                return self.enter(tree);
            }
            Node::File { size, content, .. } => {
                if let Err(error) = self.check_content(content, size) {
                    self.report(error)?;
                }
                self.progress.advance(1, size);
            }
            _ => self.progress.advance(1, 0),
        }
        self.path.pop();
        Ok(())
    }

    fn check_content(&mut self, content: Content, size: u64) -> Result<()> {
        let (Content::Chunk(top) | Content::List(top)) = content else {
            return Ok(());
        };
        if self.checked.contains(&top) {
            return Ok(());
        }
        let mut sound = Vec::new();
        let reader = ContentReader::new(self.store.clone(), content, size);
        reader.walk(&mut |digest| {
            if self.progress.is_cancelled() {
                return Err(Error::Cancelled);
            }
            if !self.checked.contains(digest) {
                self.is_there(digest)?;
                sound.push(*digest);
            }
            Ok(())
        })?;
        self.checked.extend(sound);
        Ok(())
    }

    fn is_there(&self, digest: &Digest) -> Result<()> {
        self.store.check(digest, self.depth == Depth::Bytes)
    }

    /// Ends the folder on top, and remembers it when all of it is sound.
    fn leave(&mut self) {
        self.path.pop();
        let Some(folder) = self.stack.pop() else {
            return;
        };
        if folder.is_sound {
            self.checked.extend(folder.pages);
        } else if let Some(above) = self.stack.last_mut() {
            above.is_sound = false;
        }
    }

    fn report_folder(&mut self, error: Error) -> Result<()> {
        let first = self
            .stack
            .last_mut()
            .is_some_and(|folder| !std::mem::replace(&mut folder.is_reported, true));
        if first || matches!(error, Error::Cancelled) {
            self.report(error)?;
        }
        Ok(())
    }

    /// Notes damage at the path.
    fn report(&mut self, error: Error) -> Result<()> {
        if matches!(error, Error::Cancelled) {
            return Err(error);
        }
        if let Some(folder) = self.stack.last_mut() {
            folder.is_sound = false;
        }
        self.damaged.push(Damaged {
            path: self.path.clone(),
            problem: describe(&error),
        });
        Ok(())
    }
}

/// The error with its causes, for people.
fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
