//! The one way from the async recipes into the synchronous crates.

use snap_api::{ErrorCode, ErrorReport};

use crate::error::{Error, Result};

/// Runs one synchronous step where it may block, and waits for it.
pub(crate) async fn blocking<T, E>(
    step: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T>
where
    T: Send + 'static,
    E: Send + 'static,
    Error: From<E>,
{
    match tokio::task::spawn_blocking(step).await {
        Ok(done) => Ok(done?),
        Err(panic) => {
            let message = "A step of the operation has ended unexpectedly";
            Err(ErrorReport::new(ErrorCode::Internal, "panic", message)
                .caused_by(&panic)
                .into())
        }
    }
}
