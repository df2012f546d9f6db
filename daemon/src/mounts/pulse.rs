//! Asking a mount server how it is. One that is stopped, or cannot run, is silent; nothing here waits for it for long.

use std::{io, path::Path, time::Duration};

use snap_fs::serve::{MAX_PULSE_BYTES, Pulse};
use tokio::{io::AsyncReadExt, net::UnixStream, time::timeout};

/// What came of the question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// It answered.
    Pulse(Pulse),
    /// It did not, although somebody has the socket.
    Silence,
    /// There is nobody to be asked, or the answer makes no sense: nothing is known.
    Nobody,
}

/// Asks the server behind `socket`.
pub(super) async fn ask(socket: &Path, patience: Duration) -> Sign {
    match timeout(patience, read(socket)).await {
        Ok(Ok(text)) => serde_json::from_slice(&text).map_or(Sign::Nobody, Sign::Pulse),
        Err(_) => Sign::Silence,
        // So many questions wait already that there is no place for another.
        Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => Sign::Silence,
        Ok(Err(_)) => Sign::Nobody,
    }
}

async fn read(socket: &Path) -> io::Result<Vec<u8>> {
    let socket = UnixStream::connect(socket).await?;
    let mut text = Vec::new();
    socket
        .take(MAX_PULSE_BYTES as u64)
        .read_to_end(&mut text)
        .await?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::unix::net::UnixListener};

    use super::*;

    const SOON: Duration = Duration::from_millis(50);
    const LATE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn one_that_is_stopped_is_silent_and_one_that_is_gone_is_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pulse");
        assert_eq!(ask(&path, LATE).await, Sign::Nobody);
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(ask(&path, SOON).await, Sign::Silence);
        drop(listener);
        assert_eq!(ask(&path, LATE).await, Sign::Nobody);
    }

    #[tokio::test]
    async fn an_answer_is_read_and_nonsense_is_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pulse");
        let listener = UnixListener::bind(&path).unwrap();
        let answering = std::thread::spawn(move || {
            for text in [
                serde_json::to_vec(&Pulse::default()).unwrap(),
                b"{".to_vec(),
            ] {
                listener.accept().unwrap().0.write_all(&text).unwrap();
            }
        });
        assert_eq!(ask(&path, LATE).await, Sign::Pulse(Pulse::default()));
        assert_eq!(ask(&path, LATE).await, Sign::Nobody);
        answering.join().unwrap();
    }
}
