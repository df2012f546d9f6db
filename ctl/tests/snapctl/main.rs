//! The real `snapctl` against a daemon that answers what a test tells it to.

#![expect(
    clippy::unwrap_used,
    reason = "a test whose set-up fails should end right there"
)]

mod check;
mod connection;
mod fake;
mod fixtures;
mod jobs;
mod lifecycle;
mod listings;
mod requests;
mod templates;
mod volumes;
