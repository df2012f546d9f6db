//! What images of memory hold, for people: processes, their mappings, what they have open. Decoded from CRIU's own formats.
//!
//! Images are hostile: a snapshot may come from anywhere. Each is read up to a limit, each list is cut at another, and whatever cannot
//! be decoded is left out, with a word that something was.

use snap_api::{MappingView, MemoryContents, OpenView, ProcessView};
use snap_fs::view::{ROOT, View, ViewOptions};
use snap_store::{KeyFolder, SnapshotId, Store};

use self::{
    files::OpenFiles,
    framing::Image,
    messages::{Core, Ids, Mapping, Mappings, Pages, Process},
};
use crate::error::Result;

mod files;
mod framing;
mod messages;

/// Of one image so much is read.
const MAX_IMAGE_BYTES: u32 = 4 << 20;
/// Of all images together: those of hundreds of processes, and no more work than that for who has made each as large as can be.
const MAX_TOTAL_BYTES: u32 = 64 << 20;
/// An answer has so much at most, all processes together.
const MAX_PROCESSES: usize = 512;
const MAX_MAPPINGS: usize = 8192;
const MAX_OPEN: usize = 8192;
/// Longer paths and names are cut.
pub(super) const MAX_TEXT_BYTES: usize = 256;
const PAGE_BYTES: u64 = 4096;
/// Bits of a mapping's status.
const STACK: u32 = 1 << 1;
const KERNELS: u32 = 1 << 2 | 1 << 3 | 1 << 12;
const HEAP: u32 = 1 << 5;
const OF_FILE: u32 = 1 << 6 | 1 << 7;
const SHARED: u32 = 1 << 8 | 1 << 10;
const MEMFD: u32 = 1 << 14;

/// Where images come from.
pub(crate) trait Images {
    /// The beginning of an image, `limit` bytes at most; none when there is no such image.
    fn image(&self, name: &str, limit: u32) -> Option<Vec<u8>>;
}

/// The images of a snapshot.
struct Stored(View);

impl Images for Stored {
    fn image(&self, name: &str, limit: u32) -> Option<Vec<u8>> {
        let found = self.0.lookup(ROOT, name.as_bytes()).ok()??;
        Some(self.0.read(found.number, 0, limit).ok()?.to_vec())
    }
}

/// Reads what the memory of `snapshot` holds.
///
/// # Errors
/// What the store says of its images, and of the key they take.
pub(crate) fn of_snapshot(
    store: Store,
    snapshot: &SnapshotId,
    keys: &KeyFolder,
) -> Result<MemoryContents> {
    let view = View::open_memory(store, snapshot, keys, &ViewOptions::default())?;
    Ok(read(&Stored(view)))
}

/// Reads what can be read.
pub(crate) fn read(images: &impl Images) -> MemoryContents {
    let mut reading = Reading {
        images,
        open: OpenFiles::default(),
        bytes_left: MAX_TOTAL_BYTES,
        mappings_left: MAX_MAPPINGS,
        open_left: MAX_OPEN,
        is_partial: false,
    };
    let mut processes = Vec::new();
    if let Some(image) = reading.image("files.img") {
        reading.is_partial |= !reading.open.read(&image);
    }
    let tree = reading.image("pstree.img");
    reading.is_partial |= tree.is_none();
    for message in tree.iter().flat_map(Image::messages) {
        let process = message.and_then(framing::decode::<Process>);
        match process {
            Some(process) if processes.len() < MAX_PROCESSES => {
                processes.push(reading.process(&process));
            }
            _ => {
                reading.is_partial = true;
                break;
            }
        }
    }
    MemoryContents {
        processes,
        partial: reading.is_partial,
    }
}

/// What is under way.
struct Reading<'a, I> {
    images: &'a I,
    open: OpenFiles,
    bytes_left: u32,
    mappings_left: usize,
    open_left: usize,
    is_partial: bool,
}

impl<I: Images> Reading<'_, I> {
    fn image(&mut self, name: &str) -> Option<Image> {
        let limit = MAX_IMAGE_BYTES.min(self.bytes_left);
        let bytes = self.images.image(name, limit)?;
        self.is_partial |= bytes.len() >= limit as usize;
        let read = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.bytes_left = self.bytes_left.saturating_sub(read);
        Image::new(bytes)
    }

    /// The only message of an image.
    fn one<M: prost::Message + Default>(&mut self, name: &str) -> Option<M> {
        let image = self.image(name);
        let message = image.as_ref().and_then(|image| image.messages().next()?);
        let decoded = message.and_then(framing::decode);
        self.is_partial |= decoded.is_none();
        decoded
    }

    fn process(&mut self, process: &Process) -> ProcessView {
        let pid = process.pid;
        let core: Core = self.one(&format!("core-{pid}.img")).unwrap_or_default();
        let task = core.task.unwrap_or_default();
        // One that has ended and was not waited for has nothing else.
        let is_alive = task.state != messages::DEAD;
        let (mappings, stored_bytes) = match is_alive {
            true => self.mappings(pid),
            false => (Vec::new(), 0),
        };
        let files = match core.ids {
            _ if !is_alive => None,
            Some(ids) => Some(ids.files),
            None => self
                .one(&format!("ids-{pid}.img"))
                .map(|ids: Ids| ids.files),
        };
        ProcessView {
            pid,
            parent: process.parent,
            name: cut(&task.name),
            threads: process.threads.len() as u64,
            stored_bytes,
            mappings,
            open: files
                .map(|files| self.open_files(files))
                .unwrap_or_default(),
        }
    }

    fn mappings(&mut self, pid: u32) -> (Vec<MappingView>, u64) {
        let all: Mappings = self.one(&format!("mm-{pid}.img")).unwrap_or_default();
        let pages = self.pages(pid);
        let stored_bytes = pages
            .iter()
            .map(|(_, bytes)| bytes)
            .fold(0, |sum: u64, more| sum.saturating_add(*more));
        self.is_partial |= all.mappings.len() > self.mappings_left;
        let mut views = Vec::new();
        for bytes in all.mappings.iter().take(self.mappings_left) {
            let Some(mapping) = framing::decode::<Mapping>(bytes) else {
                self.is_partial = true;
                continue;
            };
            views.push(MappingView {
                start: format!("{:#x}", mapping.start),
                bytes: mapping.end.saturating_sub(mapping.start),
                access: access(mapping.access),
                what: self.what(&mapping),
                stored_bytes: within(&pages, &mapping),
            });
        }
        self.mappings_left -= views.len();
        (views, stored_bytes)
    }

    /// Runs of pages that are in the images: where each begins, and its bytes; in their order.
    fn pages(&mut self, pid: u32) -> Vec<(u64, u64)> {
        let Some(image) = self.image(&format!("pagemap-{pid}.img")) else {
            self.is_partial = true;
            return Vec::new();
        };
        let mut found = Vec::new();
        // The first message names the file of the pages.
        for message in image.messages().skip(1) {
            let Some(pages) = message.and_then(framing::decode::<Pages>) else {
                self.is_partial = true;
                break;
            };
            if pages.are_stored() {
                found.push((pages.address, pages.count().saturating_mul(PAGE_BYTES)));
            }
        }
        found.sort_unstable();
        found
    }

    fn what(&self, mapping: &Mapping) -> String {
        match mapping.status {
            status if status & KERNELS != 0 => "kernel".to_owned(),
            status if status & STACK != 0 => "stack".to_owned(),
            status if status & HEAP != 0 => "heap".to_owned(),
            status if status & MEMFD != 0 => "memfd".to_owned(),
            status if status & OF_FILE != 0 => {
                let file = u32::try_from(mapping.file).ok();
                let named = file.and_then(|file| self.open.path(file));
                named.unwrap_or("file").to_owned()
            }
            status if status & SHARED != 0 => "shared".to_owned(),
            _ => "anonymous".to_owned(),
        }
    }

    fn open_files(&mut self, files: u32) -> Vec<OpenView> {
        let Some(image) = self.image(&format!("fdinfo-{files}.img")) else {
            self.is_partial = true;
            return Vec::new();
        };
        let mut views = Vec::new();
        for message in image.messages() {
            let descriptor = message.and_then(framing::decode);
            let Some(descriptor) = descriptor.filter(|_| views.len() < self.open_left) else {
                self.is_partial = true;
                break;
            };
            views.push(self.open.view(&descriptor));
        }
        self.open_left -= views.len();
        views
    }
}

/// How many bytes of a mapping are in the images.
fn within(pages: &[(u64, u64)], mapping: &Mapping) -> u64 {
    let first = pages.partition_point(|(start, _)| *start < mapping.start);
    let inside = pages[first..]
        .iter()
        .take_while(|(start, _)| *start < mapping.end);
    inside.fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
}

fn access(bits: u32) -> String {
    let letter = |bit: u32, letter| if bits & bit != 0 { letter } else { '-' };
    [letter(1, 'r'), letter(2, 'w'), letter(4, 'x')]
        .iter()
        .collect()
}

/// Text of bounded length, whose end is that of a letter.
fn cut(text: &str) -> String {
    match text
        .char_indices()
        .find(|(at, letter)| at + letter.len_utf8() > MAX_TEXT_BYTES)
    {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
