//! docs/schemas: one JSON Schema a command, made from the types it prints.
//!
//! With `SNAP_WRITE_SCHEMAS` in the environment, as `make schemas` has it, they are written; without it these tests say which are not as the types are.

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::{
    leaves,
    printed::{Case, LINES, NO_JSON, printed},
};

const HINT: &str = "`make schemas` writes docs/schemas anew, one of no command is removed by hand; see what changed with `git diff`";

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schemas"))
}

fn file_name(command: &str) -> String {
    format!("{}.json", command.replace(' ', "-"))
}

/// The schema of everything a command prints.
fn schema(command: &str, cases: &[Case]) -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut generator = settings.into_generator();
    let mut schemas = cases.iter().map(|case| {
        let mut schema = (case.schema)(&mut generator).to_value();
        if !case.when.is_empty() {
            schema["description"] = format!("{}.", case.when).into();
        }
        schema
    });
    let mut whole = match cases {
        [_] => schemas.next().unwrap(),
        _ => json!({ "anyOf": schemas.collect::<Vec<_>>() }),
    };
    whole["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    whole["title"] = format!("snapctl {command} --output json").into();
    if LINES.contains(&command) {
        whole["description"] = "One of these a line.".into();
    }
    whole["$defs"] = Value::Object(generator.take_definitions(true));
    publish(&mut whole);
    whole
}

/// Makes of a schema of what is written one of what may be read: a later release may add fields, and a field that is absent is not null.
fn publish(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.get("additionalProperties") == Some(&Value::Bool(false)) {
                object.remove("additionalProperties");
            }
            never_null(object);
            object.values_mut().for_each(publish);
        }
        Value::Array(all) => all.iter_mut().for_each(publish),
        _ => {}
    }
}

/// Fields that may be absent are left out then: no answer holds a null.
fn never_null(object: &mut Map<String, Value>) {
    let is_null = |one: &Value| *one == json!({ "type": "null" });
    let is_null_type = |one: &Value| *one == "null";
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|one| !is_null_type(one));
        if let [one] = &types[..] {
            object["type"] = one.clone();
        }
    }
    let Some(Value::Array(choices)) = object.get_mut("anyOf") else {
        return;
    };
    choices.retain(|one| !is_null(one));
    if let [Value::Object(one)] = &mut choices[..] {
        let one = std::mem::take(one);
        object.remove("anyOf");
        object.extend(one);
    }
}

fn text(schema: &Value) -> String {
    serde_json::to_string_pretty(schema).unwrap() + "\n"
}

#[test]
fn the_schemas_are_those_of_the_types() {
    let is_writing = env::var_os("SNAP_WRITE_SCHEMAS").is_some();
    let mut wrong = Vec::new();
    for (command, cases) in printed() {
        let file = folder().join(file_name(command));
        let wanted = text(&schema(command, &cases));
        if is_writing {
            fs::write(&file, &wanted).unwrap();
        }
        if fs::read_to_string(&file).ok() != Some(wanted) {
            wrong.push(file_name(command));
        }
    }
    assert!(wrong.is_empty(), "not as the types are: {wrong:?}; {HINT}");
}

#[test]
fn every_command_that_prints_json_has_a_schema_and_every_schema_a_command() {
    let silent = NO_JSON.map(|(command, _)| command.to_owned());
    let mut commands: BTreeSet<String> = leaves().into_iter().map(|(name, _)| name).collect();
    for command in &silent {
        assert!(commands.remove(command), "there is no {command}");
    }
    let known = printed().into_iter().map(|(name, _)| (*name).to_owned());
    assert_eq!(known.collect::<BTreeSet<_>>(), commands);
    let wanted: BTreeSet<_> = commands.iter().map(|name| file_name(name)).collect();
    let files = fs::read_dir(folder()).unwrap();
    let found: BTreeSet<_> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(found, wanted, "{HINT}");
}

/// Every property of a schema and of its definitions that nothing says of what it is. One alone in its object is one word of several with
/// what belongs to it, and described as such.
fn undescribed(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(object) => {
            let properties = object.get("properties").and_then(Value::as_object);
            for (name, property) in properties.into_iter().flatten() {
                let is_word = properties.is_some_and(|all| all.len() == 1)
                    && object.contains_key("description");
                if property.get("description").is_none() && !is_word {
                    found.insert(name.clone());
                }
            }
            object.values().for_each(|one| undescribed(one, found));
        }
        Value::Array(all) => all.iter().for_each(|one| undescribed(one, found)),
        _ => {}
    }
}

#[test]
fn every_field_says_what_it_is() {
    let mut found = BTreeSet::new();
    for (command, cases) in printed() {
        undescribed(&schema(command, &cases), &mut found);
    }
    assert!(found.is_empty(), "not described: {found:?}");
}
