//! Whether what `snapctl --output json` prints is what docs/schemas says, and nothing beside it.
//!
//! A published schema lets readers pass over fields that they do not know. Here such a field is one that was forgotten: every object is
//! closed before anything is compared with it.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::PathBuf,
    sync::{Arc, LazyLock, Mutex},
};

use anyhow::{Context, Result, bail, ensure};
use jsonschema::Validator;
use serde_json::{Value, json};

/// One of the things a command prints.
#[derive(Debug)]
struct Case {
    /// The command, and in which case when there are several.
    name: String,
    /// Says whether it is this.
    validator: Validator,
}

#[derive(Debug, Default)]
struct Known {
    schemas: HashMap<String, Arc<Vec<Case>>>,
    seen: BTreeSet<String>,
}

static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schemas"))
}

/// Checks what `snapctl` printed, when these arguments have it print JSON. What a failed command has not printed whole is no JSON.
///
/// # Errors
/// When the command has no schema, or its schema does not say this.
pub fn check(arguments: &[String], code: i32, stdout: &str) -> Result<()> {
    let Some(words) = words_before_json(arguments) else {
        return Ok(());
    };
    if stdout.trim().is_empty() {
        return Ok(());
    }
    let command = command(&words);
    let parsed: serde_json::Result<Vec<Value>> = match command == "events" {
        true => stdout.lines().map(serde_json::from_str).collect(),
        false => serde_json::from_str(stdout).map(|one| vec![one]),
    };
    match parsed {
        Ok(answers) => answers.iter().try_for_each(|one| check_one(&command, one)),
        Err(_) if code != 0 => Ok(()),
        Err(error) => Err(error).context(format!("`snapctl {command}` printed: {stdout}")),
    }
}

/// What was checked so far in this process: a command, or a case of one that prints several things.
#[must_use]
pub fn seen() -> BTreeSet<String> {
    KNOWN.lock().expect("nobody panics with it").seen.clone()
}

/// Everything there is to be checked, named as in `seen`.
///
/// # Errors
/// When a schema cannot be read.
pub fn all() -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for file in fs::read_dir(folder()).context("Read docs/schemas")? {
        let path = file?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let cases = cases(stem.context("A schema has a name")?)?;
        all.extend(cases.iter().map(|case| case.name.clone()));
    }
    Ok(all)
}

/// The words of the command when it prints JSON; options, and the values of those that hold for every verb, are left out.
fn words_before_json(arguments: &[String]) -> Option<Vec<&str>> {
    let (mut words, mut is_json) = (Vec::new(), false);
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(argument) = rest.next() {
        match argument {
            "--" => break,
            "--output" | "-o" => is_json = rest.next() == Some("json"),
            "--output=json" | "-ojson" => is_json = true,
            "--quiet" | "-q" => return None,
            "--namespace" | "-n" | "--socket" => drop(rest.next()),
            option if option.starts_with('-') => {}
            word => words.push(word),
        }
    }
    is_json.then_some(words)
}

/// The name of a command's schema.
fn command(words: &[&str]) -> String {
    let verb = match words.first().copied().unwrap_or_default() {
        "ls" => "list",
        "rm" => "remove",
        "umount" => "unmount",
        "cp" => "copy",
        "usage" => "stats",
        verb => verb,
    };
    let below = match (verb, words.get(1).copied().unwrap_or_default()) {
        ("jobs", "follow") => "wait",
        ("policy", "list") => "show",
        (_, "ls") => "list",
        (_, "rm") => "remove",
        (_, below) => below,
    };
    let whole = format!("{verb}-{below}");
    match folder().join(format!("{whole}.json")).exists() {
        true => whole,
        false => verb.to_owned(),
    }
}

fn check_one(command: &str, answer: &Value) -> Result<()> {
    let cases = cases(command)?;
    if let Some(case) = cases.iter().find(|case| case.validator.is_valid(answer)) {
        let mut known = KNOWN.lock().expect("nobody panics with it");
        known.seen.insert(case.name.clone());
        return Ok(());
    }
    let mut why = String::new();
    for case in cases.iter() {
        for error in case.validator.iter_errors(answer) {
            why.push_str(&format!(
                "\n{}: {}: {error}",
                case.name,
                error.instance_path()
            ));
        }
    }
    bail!("docs/schemas/{command}.json does not say what was printed:{why}\n{answer:#}")
}

/// What a command prints; read once.
fn cases(command: &str) -> Result<Arc<Vec<Case>>> {
    let mut known = KNOWN.lock().expect("nobody panics with it");
    if let Some(cases) = known.schemas.get(command) {
        return Ok(Arc::clone(cases));
    }
    let file = folder().join(format!("{command}.json"));
    let text = fs::read_to_string(&file).with_context(|| format!("Read {}", file.display()))?;
    let cases = Arc::new(split(command, serde_json::from_str(&text)?)?);
    known.schemas.insert(command.to_owned(), Arc::clone(&cases));
    Ok(cases)
}

/// The cases of a schema, each closed.
fn split(command: &str, mut schema: Value) -> Result<Vec<Case>> {
    close(&mut schema);
    let Some(choices) = schema.get("anyOf").and_then(Value::as_array) else {
        let validator = jsonschema::draft202012::new(&schema)?;
        let name = command.to_owned();
        return Ok(vec![Case { name, validator }]);
    };
    let mut cases = Vec::new();
    for choice in choices {
        let when = choice["description"].as_str();
        let when = when.context("Each of several says when it is printed")?;
        let whole = json!({ "allOf": [choice], "$defs": schema["$defs"] });
        cases.push(Case {
            name: format!("{command}: {when}"),
            validator: jsonschema::draft202012::new(&whole)?,
        });
    }
    ensure!(cases.len() > 1, "{command}: one of several is one");
    Ok(cases)
}

/// Lets every object have the fields alone that its schema names.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.get("properties").is_some_and(Value::is_object)
                && !object.contains_key("additionalProperties")
            {
                object.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            object.values_mut().for_each(close);
        }
        Value::Array(all) => all.iter_mut().for_each(close),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(line: &str, stdout: &str) -> Result<()> {
        let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
        check(&arguments, 0, stdout)
    }

    #[test]
    fn what_a_schema_says_passes_and_what_it_does_not_say_is_told() {
        let removed = r#"{ "ids": ["a"] }"#;
        checked("--output json rm a", removed).unwrap();
        checked("-n other remove a -o json", removed).unwrap();
        assert!(seen().contains("remove"));
        for wrong in [
            r#"{ "ids": ["a"], "colour": "red" }"#,
            r#"{ "ids": "a" }"#,
            r#"{}"#,
            r#"[]"#,
            "Removed a",
        ] {
            assert!(checked("--output json rm a", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_json_is_not_looked_at() {
        for line in ["rm a", "rm a -q -o json", "--output table rm a"] {
            checked(line, "Removed a").unwrap();
        }
        let cut = ["list", "-o", "json"].map(str::to_owned);
        check(&cut, 7, "[{").unwrap();
        assert!(check(&cut, 0, "[{").is_err());
        assert!(checked("frobnicate -o json", "{}").is_err());
    }

    #[test]
    fn of_several_cases_each_is_known_by_itself() {
        checked("verify -o json", r#"{ "job": "7c1e" }"#).unwrap();
        assert!(seen().contains("verify: With --detach."));
        let line = "container ls -o json";
        checked(line, "[]").unwrap();
        assert!(seen().contains("container-list"));
    }

    #[test]
    fn every_schema_can_be_read() {
        assert!(all().unwrap().len() > 60);
    }
}
