//! How long work tells its caller how far it is, and learns that it should stop.

/// The listener of a long operation; passed down last, called from any thread.
pub trait Progress: Send + Sync {
    /// A new phase has begun.
    fn phase(&self, name: &str);
    /// This many more files and bytes are dealt with.
    fn advance(&self, files: u64, bytes: u64);
    /// How many bytes there are in all, once that is known.
    fn expect_bytes(&self, total_bytes: u64);
    /// True when the operation should end as soon as it can with [`crate::Error::Cancelled`].
    fn is_cancelled(&self) -> bool;
}

/// Listens to nothing and never cancels.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn phase(&self, _name: &str) {}
    fn advance(&self, _files: u64, _bytes: u64) {}
    fn expect_bytes(&self, _total_bytes: u64) {}
    fn is_cancelled(&self) -> bool {
        false
    }
}
