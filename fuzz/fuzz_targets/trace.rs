//! See `snap_store::fuzz_targets::trace`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| snap_store::fuzz_targets::trace(bytes));
