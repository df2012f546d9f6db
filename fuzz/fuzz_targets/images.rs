//! See `snap_daemon::fuzz_targets::images`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| snap_daemon::fuzz_targets::images(bytes));
