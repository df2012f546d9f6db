//! The decoders of this crate as a fuzzer sees them: bytes in, nothing out, and never a panic. There with the feature
//! `fuzz` alone, which `fuzz/` asks for, and in tests, which run each of these over its seeds.

use crate::capture::Exclude;

/// A stat cache, as it comes and with its checksum made right.
pub fn stat_cache(bytes: &[u8]) {
    crate::capture::fuzz::stat_cache(bytes);
}

/// Patterns, a line each but for the last, and a path they are matched with.
pub fn exclude(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let path = lines.pop().unwrap_or_default();
    if let Ok(exclude) = Exclude::new(&lines) {
        crate::capture::fuzz::exclude(&exclude, path.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// Every target gets through its seeds.
    fn run(target: &str, run: impl Fn(&[u8])) {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
        for file in fs::read_dir(seeds.join(target)).unwrap() {
            run(&fs::read(file.unwrap().path()).unwrap());
        }
        for bytes in [&b""[..], &[0; 200], &[255; 200]] {
            run(bytes);
        }
    }

    #[test]
    fn targets_get_through_their_seeds() {
        run("stat_cache", super::stat_cache);
        run("exclude", super::exclude);
    }
}
