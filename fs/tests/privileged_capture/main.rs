//! Capture against real file systems: every kind of node, layers of overlayfs, writers that do not wait. Needs root.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail the test as the tests themselves do"
)]

mod bench;
mod graft;
mod nodes;
mod overlay;
mod passes;
