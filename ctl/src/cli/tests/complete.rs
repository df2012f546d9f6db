//! Nothing of the command line is forgotten where people and shells look for it: completions, manual pages, the table of bad input.

use std::{collections::BTreeSet, fs};

use clap_complete::Shell;

use super::*;

const BAD_INPUT: &str = include_str!("../../../../tests/tests/privileged_bad_input/cases.rs");

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "snapctl", &mut script);
    String::from_utf8(script).unwrap()
}

#[test]
fn every_verb_is_completed_in_every_shell() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let script = script(shell);
        for (name, _) in verbs() {
            // How the scripts call the function, or the word, of a verb below others.
            let function = format!("snapctl {name}").replace(' ', "__subcmd__");
            let wanted = match shell {
                Shell::Bash => function.replace('-', "__subcmd__"),
                Shell::Zsh => function,
                _ => format!("-a \"{}\"", name.split(' ').next_back().unwrap()),
            };
            assert!(script.contains(&wanted), "{shell}: {name}: {wanted}");
        }
    }
}

#[test]
fn every_option_is_completed_in_every_shell() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let script = script(shell);
        for (name, verb) in verbs() {
            for option in verb.get_arguments().filter_map(clap::Arg::get_long) {
                let wanted = match shell {
                    Shell::Fish => format!("-l {option}"),
                    _ => format!("--{option}"),
                };
                assert!(script.contains(&wanted), "{shell}: {name} --{option}");
            }
        }
    }
}

#[test]
fn every_verb_has_a_manual_page_with_its_example() {
    let folder = tempfile::tempdir().unwrap();
    clap_mangen::generate_to(Cli::command(), folder.path()).unwrap();
    let mut pages: BTreeSet<String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|page| page.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(pages.remove("snapctl.1"));
    for (name, _) in verbs() {
        let page = format!("snapctl-{}.1", name.replace(' ', "-"));
        assert!(pages.remove(&page), "there is no {page}");
        let text = fs::read_to_string(folder.path().join(&page)).unwrap();
        let text = text.replace("\\-", "-");
        assert!(text.contains(&format!("snapctl {name}")), "{page}");
    }
    pages.retain(|page| !page.contains("help"));
    assert!(pages.is_empty(), "of no verb: {pages:?}");
}

/// The table has the arguments as a person types them, one a string.
#[test]
fn every_verb_is_in_the_table_of_bad_input() {
    let table: String = BAD_INPUT.split_whitespace().collect();
    let table = table.replace(r#""--namespace","a..b","#, "");
    let missing: Vec<String> = leaves()
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| {
            let words: Vec<String> = name.split(' ').map(|word| format!("\"{word}\"")).collect();
            let begins = format!("(&[{}", words.join(","));
            let mut after = table.match_indices(&begins);
            !after.any(|(at, _)| table[at + begins.len()..].starts_with([',', ']']))
        })
        .collect();
    assert!(
        missing.is_empty(),
        "tests/tests/privileged_bad_input/cases.rs lacks {missing:?}"
    );
}
