//! CRIU's log: hundreds of lines, of which one says why it gave up.

/// Sources of lines that say `Error` and are not the cause: limits that may not be raised, and the ends of helper
/// programs, of which the one who had called them says more.
const NOISE: [&str; 1] = ["criu/util.c"];
/// Marks an error, before its place in CRIU's source.
const ERROR: &str = "Error (";
/// Longer lines are cut: a reason is read by people.
const MAX_REASON_BYTES: usize = 300;

/// Why CRIU gave up, in its own words, without the time and the place in its source. What it says first is the cause, the rest
/// are consequences.
pub(crate) fn cause(log: &str) -> Option<String> {
    let errors = || log.lines().filter_map(error);
    let telling = errors().find(|(place, _)| !NOISE.iter().any(|noise| place.starts_with(noise)));
    let (_, said) = telling.or_else(|| errors().next())?;
    Some(shortened(said))
}

/// The version of the CRIU that wrote the log.
pub(crate) fn version(log: &str) -> Option<String> {
    let (_, rest) = log.split_once(") Version: ")?;
    rest.split_ascii_whitespace().next().map(str::to_owned)
}

/// Place and words of a line that tells of an error.
fn error(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.split_once(ERROR)?;
    let (place, said) = rest.split_once("): ")?;
    Some((place, said.trim()))
}

fn shortened(said: &str) -> String {
    let plain: String = said.chars().filter(|letter| !letter.is_control()).collect();
    match plain.char_indices().find(|(at, _)| *at >= MAX_REASON_BYTES) {
        Some((end, _)) => format!("{} …", &plain[..end]),
        None => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_telling_error_is_the_cause() {
        let log = "\
(00.000223) Version: 4.2.1 (gitid 0)
(00.069997) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted
(00.072052) Error (criu/util.c:657): exited, status=1
(00.080001) Error (criu/fsnotify.c:285): fsnotify: \tHandle 0xdd:0x1 cannot be opened
(00.080100) Error (criu/cr-dump.c:1720): Dump files (pid: 7) failed with -1
(00.090100) Error (criu/cr-dump.c:2135): Dumping FAILED.";
        assert_eq!(version(log).as_deref(), Some("4.2.1"));
        let cause = cause(log).unwrap();
        assert_eq!(cause, "fsnotify: Handle 0xdd:0x1 cannot be opened");
    }

    #[test]
    fn noise_is_told_when_there_is_nothing_else() {
        let log = "Error (criu/util.c:657): exited, status=1\n";
        assert_eq!(cause(log).as_deref(), Some("exited, status=1"));
        assert_eq!(cause("(00.1) Warn  (criu/a.c:1): b\nall is well"), None);
        assert_eq!(cause("Error (no end"), None);
    }

    #[test]
    fn a_long_line_is_cut_between_letters() {
        let log = format!("Error (criu/a.c:1): {}", "é".repeat(MAX_REASON_BYTES));
        assert!(cause(&log).unwrap().len() < MAX_REASON_BYTES + 8);
    }
}
