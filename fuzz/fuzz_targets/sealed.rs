//! See `snap_store::fuzz_targets::sealed`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| snap_store::fuzz_targets::sealed(bytes));
