//! The walk through one snapshot: every page and chunk it needs, each with the place it stands at.

use std::{ops::Range, sync::Arc, vec};

use snap_store::{
    Content, ContentReader, ContentVisitor, Digest, Entry, Error, Flaw, Leaf, Node, PackId,
    Progress, Result, Store, TreeReader, TreeRef,
};

use super::{Damaged, Inspection, Lengths, Look, MAX_SOUND, Sound};

pub(super) struct Walk<'a> {
    store: &'a Store,
    reader: TreeReader,
    look: &'a mut Look<'a>,
    sound: &'a mut Sound,
    each: &'a mut dyn FnMut(Damaged) -> Result<()>,
    progress: &'a dyn Progress,
    path: Vec<Vec<u8>>,
    stack: Vec<Folder>,
    /// Damaged places so far.
    damaged: u64,
    /// Length of the file under way.
    file_bytes: u64,
    /// How many damaged places there were when each page of the file's list was entered.
    pages: Vec<u64>,
    lengths: Lengths,
}

/// A folder under way.
struct Folder {
    key: (Digest, u64),
    leaves: vec::IntoIter<Leaf>,
    entries: vec::IntoIter<Arc<Entry>>,
    /// Damaged places before it.
    damaged_before: u64,
    /// Its own pages have been reported.
    is_reported: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        inspection: &'a mut Inspection<'_>,
        root: TreeRef,
        each: &'a mut dyn FnMut(Damaged) -> Result<()>,
    ) -> Self {
        Self {
            store: inspection.store,
            reader: TreeReader::new(inspection.store.clone(), root),
            look: inspection.look,
            sound: &mut inspection.sound,
            each,
            progress: inspection.progress,
            path: Vec::new(),
            stack: Vec::new(),
            damaged: 0,
            file_bytes: 0,
            pages: Vec::new(),
            lengths: Lengths::OfFiles,
        }
    }

    pub(super) fn run(mut self, root: TreeRef, lengths: Lengths) -> Result<()> {
        self.lengths = lengths;
        self.enter_folder(root)?;
        while !self.stack.is_empty() {
            if self.progress.is_cancelled() {
                return Err(Error::Cancelled);
            }
            match self.next()? {
                Some(entry) => self.check(&entry)?,
                None => self.leave_folder(),
            }
        }
        Ok(())
    }

    /// Begins a folder: looks at its pages, and puts it on the stack when they can be walked.
    fn enter_folder(&mut self, tree: TreeRef) -> Result<()> {
        let key = (tree.digest, tree.nodes);
        if self.sound.contains(&key) {
            self.path.pop();
            return Ok(());
        }
        self.stack.push(Folder {
            key,
            leaves: Vec::new().into_iter(),
            entries: Vec::new().into_iter(),
            damaged_before: self.damaged,
            is_reported: false,
        });
        let reader = &self.reader;
        let walked = reader
            .pages(&tree)
            .and_then(|pages| Ok((pages, reader.leaves(&tree, 0)?)));
        match walked {
            Ok((pages, leaves)) => {
                if let Some(folder) = self.stack.last_mut() {
                    folder.leaves = leaves.into_iter();
                }
                pages.iter().try_for_each(|page| self.look_at_page(page))
            }
            Err(error) => {
                self.look_at_page(&tree.digest)?;
                self.report_folder(error)
            }
        }
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
        self.progress.advance(1, 0);
        match entry.node {
            Node::Directory(tree) => return self.enter_folder(tree),
            Node::File { size, content, .. } => self.check_content(content, size)?,
            _ => {}
        }
        self.path.pop();
        Ok(())
    }

    fn check_content(&mut self, content: Content, size: u64) -> Result<()> {
        self.file_bytes = size;
        self.pages.clear();
        let reader = ContentReader::new(self.store.clone(), content, size);
        reader.tour(self)
    }

    fn leave_folder(&mut self) {
        self.path.pop();
        if let Some(folder) = self.stack.pop()
            && folder.damaged_before == self.damaged
        {
            self.remember(folder.key);
        }
    }

    fn remember(&mut self, key: (Digest, u64)) {
        if self.sound.len() < MAX_SOUND {
            self.sound.insert(key);
        }
    }

    fn look_at_page(&mut self, page: &Digest) -> Result<()> {
        match (self.look)(page, None)? {
            Some(flaw) => self.report_once(|walk| walk.report(None, flaw)),
            None => Ok(()),
        }
    }

    fn report_folder(&mut self, error: Error) -> Result<()> {
        let error = passing(error)?;
        self.report_once(|walk| walk.report_error(None, None, &error))
    }

    /// A folder's own pages are one damaged place, however many of them are.
    fn report_once(&mut self, report: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let folder = self.stack.last_mut();
        match folder.is_some_and(|folder| !std::mem::replace(&mut folder.is_reported, true)) {
            true => report(self),
            false => Ok(()),
        }
    }

    fn report(&mut self, range: Option<Range<u64>>, flaw: Flaw) -> Result<()> {
        self.tell(range, Some(flaw.digest), flaw.pack, flaw.problem)
    }

    fn report_error(
        &mut self,
        range: Option<Range<u64>>,
        digest: Option<Digest>,
        error: &Error,
    ) -> Result<()> {
        self.tell(range, digest, None, describe(error))
    }

    fn tell(
        &mut self,
        range: Option<Range<u64>>,
        digest: Option<Digest>,
        pack: Option<PackId>,
        problem: String,
    ) -> Result<()> {
        self.damaged += 1;
        (self.each)(Damaged {
            path: self.path.clone(),
            file_bytes: range.as_ref().map_or(0, |_| self.file_bytes),
            range,
            digest,
            pack,
            problem,
        })
    }
}

impl ContentVisitor for Walk<'_> {
    fn enter(&mut self, page: &Digest, range: Range<u64>) -> Result<bool> {
        if self.progress.is_cancelled() {
            return Err(Error::Cancelled);
        }
        if self.sound.contains(&(*page, range.end - range.start)) {
            return Ok(false);
        }
        if let Some(flaw) = (self.look)(page, None)? {
            self.report(Some(range), flaw)?;
            return Ok(false);
        }
        self.pages.push(self.damaged);
        Ok(true)
    }

    fn leave(&mut self, page: &Digest, range: Range<u64>) {
        if self.pages.pop() == Some(self.damaged) {
            self.remember((*page, range.end - range.start));
        }
    }

    fn broken(&mut self, page: &Digest, range: Range<u64>, error: Error) -> Result<()> {
        self.pages.pop();
        let error = passing(error)?;
        self.report_error(Some(range), Some(*page), &error)
    }

    fn chunk(&mut self, chunk: &Digest, range: Range<u64>) -> Result<()> {
        let raw_bytes = match self.lengths {
            Lengths::OfFiles => Some(range.end - range.start),
            Lengths::OfEnvelopes => None,
        };
        match (self.look)(chunk, raw_bytes)? {
            Some(flaw) => self.report(Some(range), flaw),
            None => Ok(()),
        }
    }
}

/// Damage is a finding; what passes, and what ends the work, is passed on.
fn passing(error: Error) -> Result<Error> {
    match error {
        Error::Cancelled | Error::Latched { .. } => Err(error),
        finding => Ok(finding),
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
