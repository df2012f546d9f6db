//! See `snap_store::fuzz_targets::frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| snap_store::fuzz_targets::frame(bytes));
