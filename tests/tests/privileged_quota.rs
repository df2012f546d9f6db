//! What a namespace alone may need of the store.

use std::fs;

use anyhow::Result;
use snap_tests::{Host, noise, text};

const LIMIT: i32 = 5;

/// **I11** With `unique_bytes_per_namespace`, a create is refused with `limit` when the snapshots of its namespace alone need as much of the store,
/// before anything is read, and fails so when what it stores would come to more.
#[test]
fn i5_a_namespace_has_as_many_bytes_of_its_own_as_it_may() -> Result<()> {
    let host = Host::start_without_containerd("unique_bytes_per_namespace = \"4MiB\"\n")?;
    let (data, large) = (host.make_folder("data")?, host.make_folder("large")?);
    noise(&data.join("own"), 3500 << 10)?;
    noise(&large.join("file"), 2 << 20)?;
    let first = host.capture(&data, &["--name", "first"])?;
    assert!(
        first
            .warnings
            .iter()
            .any(|told| told.contains("unique bytes")),
        "{first:?}"
    );
    // What it would store is too much, and nothing of it stays.
    let before = host.stored_files()?;
    let answer = host.snapctl(["create", "--path", text(&large)?])?;
    assert_eq!(answer.code, LIMIT, "{answer:?}");
    assert!(
        answer.stderr.contains("unique_bytes_per_namespace"),
        "{answer:?}"
    );
    assert_eq!(host.stored_files()?, before);
    // Elsewhere there is room, and what two namespaces share counts for neither.
    host.capture(&large, &["--namespace", "other"])?;
    host.capture(&data, &["--namespace", "other"])?;
    let mut host = host;
    host.take_daemon()?.stop()?;
    host.start_daemon()?;
    let shared = host.capture(&large, &["--name", "shared"])?;
    assert!(shared.warnings.is_empty(), "{shared:?}");
    fs::write(data.join("more"), "more")?;
    host.capture(&data, &["--name", "first"])?;
    Ok(())
}
