//! The messages as a fuzzer sees them: bytes in, nothing out, and never a panic. There with the feature `fuzz` alone, which
//! `fuzz/` asks for, and in tests, which run each of these over its seeds.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tarpc::{ClientMessage, Response};

use crate::{SnapshotdRequest, SnapshotdResponse, Template};

/// What a client sends, as the daemon takes it off the socket.
///
/// The deadline is replaced: tarpc adds it to the time of day and panics when the sum is none, which ends the connection's task alone.
pub fn request(bytes: &[u8]) {
    if let Ok(mut message) = serde_json::from_slice::<Value>(bytes) {
        if let Some(deadline) = message.pointer_mut("/Request/context/deadline") {
            *deadline = json!({ "secs": 1, "nanos": 0 });
        }
        let _message = serde_json::from_value::<ClientMessage<SnapshotdRequest>>(message);
    }
    round_trip::<SnapshotdRequest>(bytes);
}

/// What the daemon answers, as a client takes it.
pub fn response(bytes: &[u8]) {
    round_trip::<Response<SnapshotdResponse>>(bytes);
}

/// A template's file; what is understood means the same when it is sent.
pub fn template(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(template) = Template::parse(text, "template.toml") {
        let sent = serde_json::to_vec(&template).expect("messages are always JSON");
        let taken: Template = serde_json::from_slice(&sent).expect("it was just written");
        assert_eq!(taken, template);
        assert!(taken.check().is_ok());
    }
}

/// What is understood is understood the same once more.
fn round_trip<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    if let Ok(message) = serde_json::from_slice::<T>(bytes) {
        let text = serde_json::to_vec(&message).expect("messages are always JSON");
        let again: T = serde_json::from_slice(&text).expect("it was just written");
        let text_again = serde_json::to_vec(&again).expect("messages are always JSON");
        assert_eq!(text, text_again);
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// Every target gets through its seeds.
    fn run(target: &str, run: impl Fn(&[u8])) {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
        for file in fs::read_dir(seeds.join(target)).unwrap() {
            run(&fs::read(file.unwrap().path()).unwrap());
        }
    }

    #[test]
    fn targets_get_through_their_seeds() {
        run("request", super::request);
        run("response", super::response);
        run("template", super::template);
    }
}
