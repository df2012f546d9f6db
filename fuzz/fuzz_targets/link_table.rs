//! See `snap_store::fuzz_targets::link_table`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| snap_store::fuzz_targets::link_table(bytes));
