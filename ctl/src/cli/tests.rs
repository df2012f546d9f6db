//! The definition of the command line, and the manual it makes.

mod complete;
mod printed;
mod schemas;

use clap::{Command, CommandFactory};

use super::*;

const OPERATIONS: &str = include_str!("../../../docs/operations.md");

/// Every verb that does something, with those below `container` and `jobs`.
fn verbs() -> Vec<(String, Command)> {
    let mut found = Vec::new();
    for verb in Cli::command().get_subcommands() {
        let name = verb.get_name().to_owned();
        for below in verb.get_subcommands() {
            found.push((format!("{name} {}", below.get_name()), below.clone()));
        }
        found.push((name, verb.clone()));
    }
    found
}

/// The verbs that do something by themselves, as they are typed.
fn leaves() -> Vec<(String, Command)> {
    let mut all = verbs();
    all.retain(|(_, verb)| !verb.is_subcommand_required_set());
    all
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_verb_has_a_manual_with_an_example() {
    for (name, verb) in verbs() {
        assert!(verb.get_about().is_some(), "{name} says nothing");
        let example = verb.get_after_long_help().map(ToString::to_string);
        let command = format!("snapctl {name}");
        assert!(
            example.is_some_and(|text| text.contains(&command)),
            "{name} has no example of its own"
        );
    }
}

#[test]
fn every_option_is_described() {
    for (name, verb) in verbs() {
        for argument in verb.get_arguments() {
            assert!(
                argument.get_help().is_some(),
                "{name}: {}",
                argument.get_id()
            );
        }
    }
}

#[test]
fn the_manual_knows_every_verb_and_option() {
    for (name, verb) in verbs() {
        assert!(
            OPERATIONS.contains(&format!("`snapctl {name}")),
            "docs/operations.md lacks `snapctl {name}`"
        );
        for option in verb
            .get_arguments()
            .filter_map(|argument| argument.get_long())
        {
            let option = format!("`--{option}");
            assert!(OPERATIONS.contains(&option), "{name}: lacks {option}");
        }
    }
}

#[test]
fn a_malformed_command_has_the_exit_code_for_usage() {
    let refused = Cli::try_parse_from(["snapctl", "frobnicate"]).unwrap_err();
    let code = i32::from(ErrorCode::Usage.exit_code());
    assert_eq!(refused.exit_code(), code);
}
