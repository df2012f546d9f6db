//! What a captured spec may hold, as a table: a field that is not in it does not reach a new container.

use serde_json::{Map, Value};
use snap_store::{Error, Result};

/// Deepest nesting of a field that is taken over as it is.
const MAX_DEPTH: usize = 16;
/// Most items of one list or map of a spec.
const MAX_ITEMS: usize = 65_536;

/// The type of a field.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// True or false.
    Bool,
    /// A whole number.
    Number,
    /// Text without NUL.
    Text,
    /// A list.
    List(&'static Self),
    /// Any keys, one type of value.
    Map(&'static Self),
    /// These fields and no others.
    Fields(&'static [(&'static str, Self)]),
    /// Plain data of any form, for what only the runtime reads: it checks it itself.
    Data,
}

use Shape::{Bool, Data, Fields, List, Number, Text};

const TEXTS: Shape = List(&Text);

const USER: Shape = Fields(&[
    ("uid", Number),
    ("gid", Number),
    ("umask", Number),
    ("additionalGids", List(&Number)),
]);

const CAPABILITIES: Shape = Fields(&[
    ("bounding", TEXTS),
    ("effective", TEXTS),
    ("inheritable", TEXTS),
    ("permitted", TEXTS),
    ("ambient", TEXTS),
]);

const RLIMIT: Shape = Fields(&[("type", Text), ("hard", Number), ("soft", Number)]);

/// The first process.
pub(super) const PROCESS: Shape = Fields(&[
    ("terminal", Bool),
    ("user", USER),
    ("args", TEXTS),
    ("env", TEXTS),
    ("cwd", Text),
    ("capabilities", CAPABILITIES),
    ("rlimits", List(&RLIMIT)),
    ("noNewPrivileges", Bool),
    ("apparmorProfile", Text),
    ("oomScoreAdj", Number),
]);

const ID_MAP: Shape = Fields(&[
    ("containerID", Number),
    ("hostID", Number),
    ("size", Number),
]);

const DEVICE: Shape = Fields(&[
    ("path", Text),
    ("type", Text),
    ("major", Number),
    ("minor", Number),
    ("fileMode", Number),
    ("uid", Number),
    ("gid", Number),
]);

/// What is Linux's own, without namespaces and the cgroup's path, which are made anew.
pub(super) const LINUX: Shape = Fields(&[
    ("uidMappings", List(&ID_MAP)),
    ("gidMappings", List(&ID_MAP)),
    ("sysctl", Shape::Map(&Text)),
    ("resources", Data),
    ("devices", List(&DEVICE)),
    ("seccomp", Data),
    ("maskedPaths", TEXTS),
    ("readonlyPaths", TEXTS),
    ("rootfsPropagation", Text),
]);

/// A namespace, before it is decided upon.
pub(super) const NAMESPACES: Shape = List(&Fields(&[("type", Text), ("path", Text)]));

impl Shape {
    /// A copy of `value` with what this shape allows; the paths of other fields are added to `left_out`.
    ///
    /// # Errors
    /// `Corrupt` when a field that is allowed has another type.
    pub(super) fn copy(
        self,
        value: &Value,
        path: &str,
        left_out: &mut Vec<String>,
    ) -> Result<Value> {
        let wrong = |expected: &str| corrupt(path, &format!("it is not {expected}"));
        match (self, value) {
            (Bool, Value::Bool(_)) => Ok(value.clone()),
            (Number, Value::Number(number)) if !number.is_f64() => Ok(value.clone()),
            (Text, Value::String(text)) if !text.contains('\0') => Ok(value.clone()),
            (List(item), Value::Array(items)) if items.len() <= MAX_ITEMS => {
                let copies = items.iter().map(|value| item.copy(value, path, left_out));
                copies.collect::<Result<_>>().map(Value::Array)
            }
            (Self::Map(item), Value::Object(fields)) if fields.len() <= MAX_ITEMS => {
                let copies = fields.iter().map(|(name, value)| {
                    let copy = item.copy(value, &format!("{path}.{name}"), left_out)?;
                    Ok((name.clone(), copy))
                });
                copies.collect::<Result<_>>().map(Value::Object)
            }
            (Fields(known), Value::Object(fields)) => copy_fields(known, fields, path, left_out),
            (Data, _) if is_bounded(value, MAX_DEPTH) => Ok(value.clone()),
            (Bool, _) => Err(wrong("true or false")),
            (Number, _) => Err(wrong("a whole number")),
            (Text, _) => Err(wrong("text")),
            (List(_), _) => Err(wrong("a list")),
            (Self::Map(_) | Fields(_), _) => Err(wrong("an object")),
            (Data, _) => Err(wrong("small enough")),
        }
    }
}

fn copy_fields(
    known: &[(&str, Shape)],
    fields: &Map<String, Value>,
    path: &str,
    left_out: &mut Vec<String>,
) -> Result<Value> {
    let mut copy = Map::new();
    for (name, value) in fields {
        let path = format!("{path}.{name}");
        // Go writes an absent list or object as null.
        match known.iter().find(|(known, _)| known == name) {
            _ if value.is_null() => {}
            Some((_, shape)) => {
                copy.insert(name.clone(), shape.copy(value, &path, left_out)?);
            }
            None => left_out.push(path),
        }
    }
    Ok(Value::Object(copy))
}

fn is_bounded(value: &Value, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else {
        return false;
    };
    match value {
        Value::Array(items) => {
            items.len() <= MAX_ITEMS && items.iter().all(|item| is_bounded(item, depth))
        }
        Value::Object(fields) => {
            fields.len() <= MAX_ITEMS && fields.values().all(|field| is_bounded(field, depth))
        }
        Value::String(text) => !text.contains('\0'),
        _ => true,
    }
}

pub(super) fn corrupt(path: &str, why: &str) -> Error {
    Error::Corrupt {
        what: "The OCI spec",
        name: path.to_owned(),
        why: why.to_owned(),
    }
}
