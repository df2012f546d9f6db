//! `snapctl`, the command of the snapshot daemon.
//!
//! ```text
//! cli ──► verbs/* ──► session ──► the daemon
//!            │  └───► follow      (long jobs: wait, progress, Ctrl-C)
//!            └──────► screen ──► stdout          failure ──► stderr and the exit code
//! ```
//!
//! A verb asks, then shows; what it shows is made of the words in `words`, and every way to end is a `Failure`.

#![forbid(unsafe_code)]

mod cli;
mod failure;
mod follow;
mod screen;
mod session;
mod values;
mod verbs;
mod words;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}
