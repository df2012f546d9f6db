//! Reading a snapshot as a mount does, and comparing it with what was captured.

use std::collections::BTreeSet;

use snap_store::{Error, Node, SnapshotId, Store};

use crate::{
    sample::Tree,
    view::{self, Number, ROOT, View, ViewOptions},
};

/// Bytes asked for at once, as the kernel does.
const READ_BYTES: u32 = 128 << 10;

/// What could be read of a snapshot and what could not, by path. Anything wrong has ended the test before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) right: BTreeSet<Vec<u8>>,
    pub(super) failed: BTreeSet<Vec<u8>>,
}

impl Reading {
    /// Reads a whole snapshot through a view of its own.
    pub(super) fn of(store: &Store, (id, tree): &(SnapshotId, Tree)) -> Self {
        let mut reading = Self::default();
        match open(store, id) {
            Ok(view) => reading.look(&view, ROOT, tree, b""),
            Err(error) => {
                assert_told(&error);
                reading.lost(tree, b"");
            }
        }
        reading
    }

    /// Reads a whole snapshot through a view that is open.
    pub(super) fn through(view: &View, tree: &Tree) -> Self {
        let mut reading = Self::default();
        reading.look(view, ROOT, tree, b"");
        reading
    }

    pub(super) fn is_whole(&self) -> bool {
        self.failed.is_empty()
    }

    /// Nothing that could be read before cannot be read now.
    pub(super) fn is_as_good_as(&self, before: &Self) -> bool {
        before.right.is_subset(&self.right)
    }

    fn look(&mut self, view: &View, number: Number, tree: &Tree, path: &[u8]) {
        let seen = match tree {
            Tree::Folder(_, nodes) => {
                for (name, below) in nodes {
                    let path = [path, b"/", name].concat();
                    match view.lookup(number, name) {
                        Ok(Some(found)) => self.look(view, found.number, below, &path),
                        Ok(None) => panic!("{} is hidden", path.escape_ascii()),
                        Err(error) => {
                            assert_answer(&error);
                            self.lost(below, &path);
                        }
                    }
                }
                let names = view.entries(number, 0, usize::MAX);
                names.map(|found| {
                    let found = found.iter().skip(2).map(|name| &name.name);
                    assert!(
                        found.eq(nodes.keys()),
                        "other names in {}",
                        path.escape_ascii()
                    );
                })
            }
            Tree::File(meta, bytes) => read(view, number, bytes).and_then(|()| {
                let about = view.attributes(number)?;
                assert_eq!((about.mode, about.size), (meta.mode, bytes.len() as u64));
                Ok(())
            }),
            Tree::Node(_, node) => view.read_link(number).map(|target| {
                assert_eq!(*node, Node::Symlink(target.into()));
            }),
        };
        match seen {
            Ok(()) => drop(self.right.insert(path.to_vec())),
            Err(error) => {
                assert_answer(&error);
                self.failed.insert(path.to_vec());
            }
        }
    }

    fn lost(&mut self, tree: &Tree, path: &[u8]) {
        self.failed.insert(path.to_vec());
        if let Tree::Folder(_, nodes) = tree {
            for (name, below) in nodes {
                self.lost(below, &[path, b"/", name].concat());
            }
        }
    }
}

/// A view that remembers no decoded bytes.
pub(super) fn open(store: &Store, id: &SnapshotId) -> snap_store::Result<View> {
    let options = ViewOptions {
        cache_bytes: 0,
        node_bytes: 0,
        read_ahead_threads: 0,
    };
    View::open(store.clone(), id, &options)
}

/// Ends the test when any byte is another.
fn read(view: &View, number: Number, expected: &[u8]) -> view::Result<()> {
    let mut offset = 0;
    loop {
        let bytes = view.read(number, offset, READ_BYTES)?;
        let from = usize::try_from(offset).unwrap();
        let part = &expected[from..expected.len().min(from + READ_BYTES as usize)];
        assert!(*bytes == *part, "wrong bytes at {offset}");
        if part.is_empty() {
            return Ok(());
        }
        offset += part.len() as u64;
    }
}

/// What damage may be told as.
pub(super) fn assert_told(error: &Error) {
    let is_told = matches!(
        error,
        Error::Corrupt { .. }
            | Error::NotFound { .. }
            | Error::Incompatible { .. }
            | Error::Io { .. }
    );
    assert!(is_told, "{error:?}");
}

fn assert_answer(error: &view::Error) {
    match error {
        view::Error::Store(error) => assert_told(error),
        other => panic!("{other:?}"),
    }
}
