//! See `snap_fs::fuzz_targets::stat_cache`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| snap_fs::fuzz_targets::stat_cache(bytes));
