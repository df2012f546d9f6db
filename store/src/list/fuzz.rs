//! What a fuzzer does with the bytes of extent-list pages.

use super::{ContentReader, ListPage};
use crate::{
    entry::Content,
    ids::Digest,
    page::{Need, PageSource},
};

/// Decodes a page, and each of its rows.
pub(crate) fn page(bytes: &[u8]) {
    let Ok(page) = ListPage::decode(bytes) else {
        return;
    };
    for index in 0..page.count() {
        let _row = page.row(index);
    }
    let _found = page.find(page.total / 2);
    let mut needs = 0;
    let _told = super::needs(bytes, &mut |_: Need| needs += 1);
}

/// Asks a file of hostile pages everything that can be asked.
pub(crate) fn content(pages: impl PageSource, size: u64) {
    let content = Content::List(Digest::from_bytes([0; 32]));
    let reader = ContentReader::new(pages, content, size);
    for offset in [0, 1, size / 2, size.saturating_sub(1), u64::MAX] {
        let _read = reader.read_into(offset, 4096, &mut Vec::new());
        let _next = (reader.next_data(offset), reader.next_hole(offset));
    }
    let _all = (
        reader.extents(),
        reader.data_bytes(),
        reader.chunks(0, size),
    );
    let _walked = reader.walk(&mut |_| Ok(()));
}
