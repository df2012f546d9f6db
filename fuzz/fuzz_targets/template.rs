//! See `snap_api::fuzz_targets::template`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| snap_api::fuzz_targets::template(bytes));
