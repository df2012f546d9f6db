//! Names inside a snapshot, and what differs between two.

use std::sync::Arc;

use snap_api::{DiffEntry, DiffKind, DiffRequest, Page, TreeEntry, TreeRequest, WirePath};
use snap_fs::diff::{Change, Difference};
use snap_store::{Content, DeviceNumber, EntryName, Located, Manifest, Node, Store, TreeReader};

use super::{
    browse::active,
    page::{self, PageBuilder},
    parse,
};
use crate::{blocking, clock, error::Result, host::Host};

pub(super) async fn page(host: &Arc<Host>, request: TreeRequest) -> Result<Page<TreeEntry>> {
    let names = parse::inner_path(&request.path)?;
    let after = page::number_cursor(request.cursor.as_deref())?;
    let limit = parse::page_limit(request.limit);
    let id = active(host, &request.namespace, &request.reference)
        .await?
        .id;
    let store = host.store.clone();
    blocking(move || {
        let manifest = store.manifest(&id)?;
        let listing = Listing::open(store, &manifest, &names)?;
        match request.recursive {
            true => listing.below(after, limit),
            false => listing.within(after, limit),
        }
    })
    .await
}

/// What a listing starts from.
struct Listing {
    reader: TreeReader,
    path: Vec<Vec<u8>>,
    /// `None` for the root itself.
    start: Option<Located>,
}

impl Listing {
    fn open(store: Store, manifest: &Manifest, names: &[EntryName]) -> Result<Self> {
        let reader = TreeReader::new(store, manifest.root);
        let path: Vec<&[u8]> = names.iter().map(EntryName::as_bytes).collect();
        let start = reader.resolve(&path)?;
        Ok(Self {
            start,
            reader,
            path: path.into_iter().map(<[u8]>::to_vec).collect(),
        })
    }

    /// The entries of the folder; of anything else, itself. The cursor is the number of the last entry.
    fn within(&self, after: Option<u64>, limit: usize) -> Result<Page<TreeEntry>> {
        let (tree, position) = match &self.start {
            None => (self.reader.root(), 0),
            Some(start) => match &start.entry.node {
                Node::Directory(tree) => (*tree, start.position),
                _ => return Ok(self.alone(start, after)),
            },
        };
        let mut page = PageBuilder::new(limit);
        let first = after.map_or(0, |after| after.saturating_add(1));
        for located in self.reader.entries(&tree, position, first, limit)? {
            if page.is_full() {
                break;
            }
            let path = self.path.iter().map(Vec::as_slice);
            let path = join(path.chain([located.entry.name.as_bytes()]));
            page.push(view(path, &located), located.index.to_string());
        }
        Ok(page.finish())
    }

    /// Everything below the folder in preorder. The cursor is the position of the last entry.
    fn below(&self, after: Option<u64>, limit: usize) -> Result<Page<TreeEntry>> {
        let (first, nodes) = match &self.start {
            None => (0, self.reader.root().nodes),
            Some(start) => match &start.entry.node {
                Node::Directory(tree) => (start.position, tree.nodes),
                _ => return Ok(self.alone(start, after)),
            },
        };
        let end = first.saturating_add(nodes);
        let next = after
            .map_or(first, |after| after.max(first))
            .saturating_add(1);
        let mut page = PageBuilder::new(limit);
        for position in next..end {
            if page.is_full() {
                break;
            }
            let Some(located) = self.reader.at(position)? else {
                continue;
            };
            let path = self.reader.path_of(position)?;
            let path = join(path.iter().map(Vec::as_slice));
            page.push(view(path, &located), position.to_string());
        }
        Ok(page.finish())
    }

    fn alone(&self, start: &Located, after: Option<u64>) -> Page<TreeEntry> {
        let mut page = PageBuilder::new(usize::MAX);
        if after.is_none() {
            page.push(
                view(join(self.path.iter().map(Vec::as_slice)), start),
                start.position.to_string(),
            );
        }
        page.finish()
    }
}

fn view(path: WirePath, located: &Located) -> TreeEntry {
    let entry = &located.entry;
    let (size, target, device) = match &entry.node {
        Node::File { size, .. } => (*size, None, None),
        Node::Symlink(target) => (target.len() as u64, Some(WirePath::new(&**target)), None),
        Node::CharDevice(number) | Node::BlockDevice(number) => (0, None, Some(device(*number))),
        Node::Directory(_) | Node::Fifo | Node::Socket => (0, None, None),
    };
    TreeEntry {
        path,
        kind: entry.node.kind().to_owned(),
        mode: format!("{:04o}", entry.meta.mode),
        uid: entry.meta.uid,
        gid: entry.meta.gid,
        size,
        modified_at: clock::rfc3339_nanos(entry.meta.modified),
        target,
        digest: digest(&entry.node),
        device,
        xattrs: entry
            .meta
            .xattrs
            .iter()
            .map(|xattr| WirePath::new(&*xattr.name))
            .collect(),
    }
}

/// A file's content by its digest: that of its only chunk, or of the list of its extents.
fn digest(node: &Node) -> Option<String> {
    let Node::File { content, .. } = node else {
        return None;
    };
    match content {
        Content::Hole => None,
        Content::Chunk(digest) | Content::List(digest) | Content::SparseList(digest) => {
            Some(digest.to_string())
        }
    }
}

fn device(number: DeviceNumber) -> String {
    format!("{}:{}", number.major, number.minor)
}

pub(super) async fn diff(host: &Arc<Host>, request: DiffRequest) -> Result<Page<DiffEntry>> {
    let limit = parse::page_limit(request.limit);
    let after = request.cursor.as_deref().map(path_cursor).transpose()?;
    let from = active(host, &request.namespace, &request.from).await?.id;
    let to = active(host, &request.namespace, &request.to).await?.id;
    let store = host.store.clone();
    let found = blocking(move || {
        let (from, to) = (store.manifest(&from)?, store.manifest(&to)?);
        snap_fs::diff::diff(&store, &from, &to, after.as_deref(), limit)
    })
    .await?;
    let mut page = PageBuilder::new(limit);
    for difference in &found {
        if page.is_full() {
            break;
        }
        let entry = difference_view(difference);
        let cursor = entry.path.to_string();
        page.push(entry, cursor);
    }
    Ok(page.finish())
}

/// The path a page of differences ended with.
fn path_cursor(text: &str) -> Result<Vec<Vec<u8>>> {
    let path: WirePath = text.parse().map_err(|_| page::invalid())?;
    let names = parse::inner_path(&path).map_err(|_| page::invalid())?;
    Ok(names.iter().map(|name| name.as_bytes().to_vec()).collect())
}

fn difference_view(difference: &Difference) -> DiffEntry {
    DiffEntry {
        path: join(difference.path.iter().map(Vec::as_slice)),
        kind: match difference.change {
            Change::Added => DiffKind::Added,
            Change::Removed => DiffKind::Removed,
            Change::Modified => DiffKind::Modified,
            Change::Metadata => DiffKind::Metadata,
            Change::Replaced => DiffKind::Replaced,
        },
        old_size: difference.old_size,
        new_size: difference.new_size,
    }
}

/// Names as an absolute path; `/` for none.
fn join<'a>(names: impl Iterator<Item = &'a [u8]>) -> WirePath {
    let mut path = Vec::new();
    for name in names {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    match path.is_empty() {
        true => WirePath::new(&b"/"[..]),
        false => WirePath::new(path),
    }
}
