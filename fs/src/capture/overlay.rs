//! What overlayfs writes into its layers besides content: which names are deleted, which folders hide what is below them.
//!
//! The kernel keeps its marks in `trusted.overlay.*`, or in `user.overlay.*` when it was mounted with `userxattr`.
//! An overlay mounted on top of another has its own marks escaped by the lower one as `trusted.overlay.overlay.*`:
//! for the lower one they are content, under their plain name.

use snap_store::Xattr;

use super::{SourceKind, stat::Stat};

/// What the marks of one inode say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// A folder that hides what the layers below have in it.
    pub(super) is_opaque: bool,
    /// A folder in which files may stand for deleted names.
    pub(super) holds_file_whiteouts: bool,
    /// A file that stands for a deleted name, in such a folder.
    pub(super) is_file_whiteout: bool,
    /// A mark that cannot be resolved within the path: the option of overlayfs that makes such marks.
    pub(super) unsupported: Option<&'static str>,
}

/// Tells marks from content.
pub(super) fn read_marks(kind: SourceKind, xattrs: &[Xattr]) -> (Marks, Vec<Xattr>) {
    let prefix: &[u8] = match kind {
        SourceKind::Plain => return (Marks::default(), xattrs.to_vec()),
        SourceKind::OverlayLayer => b"trusted.overlay.",
        SourceKind::UserOverlayLayer => b"user.overlay.",
    };
    let mut marks = Marks::default();
    let mut content = Vec::new();
    for xattr in xattrs {
        let Some(mark) = xattr.name.strip_prefix(prefix) else {
            content.push(xattr.clone());
            continue;
        };
        match (mark, &*xattr.value) {
            (b"opaque", b"y") => marks.is_opaque = true,
            (b"opaque", b"x") => marks.holds_file_whiteouts = true,
            (b"whiteout", _) => marks.is_file_whiteout = true,
            (b"redirect", _) => marks.unsupported = Some("redirect_dir"),
            (b"metacopy", _) => marks.unsupported = Some("metacopy"),
            (escaped, value) if escaped.starts_with(b"overlay.") => content.push(Xattr {
                name: [prefix, &escaped[b"overlay.".len()..]].concat().into(),
                value: value.into(),
            }),
            _ => {}
        }
    }
    content.sort_unstable();
    (marks, content)
}

/// True when `stat` alone says that the name is deleted.
pub(super) fn is_whiteout(kind: SourceKind, stat: &Stat) -> bool {
    kind != SourceKind::Plain && stat.is_whiteout_device()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xattr(name: &str, value: &str) -> Xattr {
        Xattr {
            name: name.as_bytes().into(),
            value: value.as_bytes().into(),
        }
    }

    #[test]
    fn marks_are_not_content_and_escaped_marks_are() {
        let all = [
            xattr("trusted.overlay.opaque", "y"),
            xattr("trusted.overlay.overlay.opaque", "x"),
            xattr("trusted.overlay.origin", "?"),
            xattr("user.overlay.opaque", "y"),
        ];
        let (marks, content) = read_marks(SourceKind::OverlayLayer, &all);
        assert!(marks.is_opaque && !marks.holds_file_whiteouts);
        let expected = [
            xattr("trusted.overlay.opaque", "x"),
            xattr("user.overlay.opaque", "y"),
        ];
        assert_eq!(content, expected);
    }

    #[test]
    fn a_plain_folder_has_no_marks() {
        let all = [xattr("trusted.overlay.opaque", "y")];
        let (marks, content) = read_marks(SourceKind::Plain, &all);
        assert_eq!((marks, &*content), (Marks::default(), &all[..]));
    }

    #[test]
    fn redirects_are_noticed() {
        let all = [xattr("user.overlay.redirect", "/x")];
        let (marks, _) = read_marks(SourceKind::UserOverlayLayer, &all);
        assert_eq!(marks.unsupported, Some("redirect_dir"));
    }
}
