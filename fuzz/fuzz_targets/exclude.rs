//! See `snap_fs::fuzz_targets::exclude`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| snap_fs::fuzz_targets::exclude(bytes));
