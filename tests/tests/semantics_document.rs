//! Every sentence of docs/semantics.md has a test that carries it, and every test's sentence is in the document.
//!
//! A test carries a sentence as its doc comment, from the number to the last word; one test may carry several,
//! and several tests the same one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

const CRATES: [&str; 6] = ["api", "store", "fs", "daemon", "ctl", "tests"];

/// Sentences by number.
type Sentences = BTreeMap<String, BTreeSet<String>>;

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Splits text that begins with a number into its sentences.
fn sentences(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("**") {
        let Some((number, body)) = after.split_once("**") else {
            break;
        };
        let end = body.find(" **").unwrap_or(body.len());
        if is_number(number) {
            found.push((number.to_owned(), body[..end].trim().to_owned()));
        }
        rest = &body[end..];
    }
    found
}

/// A capital letter and digits.
fn is_number(word: &str) -> bool {
    let mut letters = word.chars();
    letters
        .next()
        .is_some_and(|first| first.is_ascii_uppercase())
        && !letters.as_str().is_empty()
        && letters.all(|letter| letter.is_ascii_digit())
}

fn documented() -> Result<Vec<(String, String)>> {
    let text = fs::read_to_string(project().join("docs/semantics.md"))?;
    let lines = text.lines().filter_map(|line| line.strip_prefix("- "));
    Ok(lines.flat_map(sentences).collect())
}

/// The sentences of the doc comments that stand above a test, with where they were found.
fn carried() -> Result<Sentences> {
    let mut found = Sentences::new();
    for name in CRATES {
        for file in sources(&project().join(name))? {
            let text = fs::read_to_string(&file)?;
            for (number, sentence) in of_source(&text) {
                found.entry(number).or_default().insert(sentence);
            }
        }
    }
    Ok(found)
}

fn of_source(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(words) = line.strip_prefix("///") {
            comment.push(words.trim());
            continue;
        }
        // proptest's and tokio's tests have the word in their attribute too.
        if line.starts_with("#[") && line.contains("test") {
            found.extend(sentences(&comment.join(" ")));
        }
        comment.clear();
    }
    found
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("List {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

#[test]
fn every_sentence_has_a_test() -> Result<()> {
    let carried = carried()?;
    let documented = documented()?;
    assert!(documented.len() > 80, "{} sentences", documented.len());
    let missing: Vec<_> = documented
        .iter()
        .filter(|(number, _)| !carried.contains_key(number))
        .map(|(number, sentence)| format!("{number}: {sentence}"))
        .collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    Ok(())
}

#[test]
fn every_test_carries_its_sentence_as_it_is_in_the_document() -> Result<()> {
    let documented: BTreeMap<_, _> = documented()?.into_iter().collect();
    let mut wrong = Vec::new();
    for (number, all) in carried()? {
        let expected = documented.get(&number);
        for sentence in all.iter().filter(|sentence| Some(*sentence) != expected) {
            wrong.push(format!("{number}: `{sentence}` is not `{expected:?}`"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn every_number_is_given_once() -> Result<()> {
    let mut seen = BTreeSet::new();
    let twice: Vec<_> = documented()?
        .into_iter()
        .filter(|(number, _)| !seen.insert(number.clone()))
        .collect();
    assert!(twice.is_empty(), "{twice:?}");
    Ok(())
}

#[test]
fn sentences_are_told_apart() {
    let source = "/// **H7** One\n/// sentence.\n/// **H8** Another.\n#[test]\n/// **H9** Nobody's.\nfn f() {}";
    let expected = [("H7", "One sentence."), ("H8", "Another.")];
    let expected = expected.map(|(number, text)| (number.to_owned(), text.to_owned()));
    assert_eq!(of_source(source), expected);
}
