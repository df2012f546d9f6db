//! What reaches stdout: tables, lines or JSON, and colours only where a person looks.

use std::{
    cell::RefCell,
    env,
    io::{self, BufWriter, IsTerminal, Stdout, Write},
};

use clap::ValueEnum;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::{failure::Failure, words::clean};

/// Why an answer can always be written as JSON.
const PLAIN: &str = "answers are plain structs with string keys";

/// The form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people: tables, sizes and times in words.
    Table,
    /// For programs: the daemon's answers as JSON; listings are arrays.
    Json,
}

/// What a command prints in its given form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Ids or paths alone.
    Quiet,
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// One of the two output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Results.
    Stdout,
    /// Errors, warnings and progress.
    Stderr,
}

/// Whether colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    /// Escape sequences for colours.
    Colour,
    /// Text alone.
    Plain,
}

impl Paint {
    /// Colours on a terminal, unless the environment says otherwise (<https://no-color.org>).
    pub(crate) fn of(stream: Stream) -> Self {
        let is_terminal = match stream {
            Stream::Stdout => io::stdout().is_terminal(),
            Stream::Stderr => io::stderr().is_terminal(),
        };
        let is_unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || env::var_os("TERM").is_some_and(|term| term == "dumb");
        if is_terminal && !is_unwanted {
            Self::Colour
        } else {
            Self::Plain
        }
    }

    /// Text that says something is wrong.
    pub(crate) fn bad(self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    /// Text that asks for attention.
    pub(crate) fn warn(self, text: &str) -> String {
        self.wrap("1;33", text)
    }

    /// Text that says all is well.
    pub(crate) fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// Text that stands out.
    pub(crate) fn strong(self, text: &str) -> String {
        self.wrap("1", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        match self {
            Self::Colour => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Plain => text.to_owned(),
        }
    }
}

/// Where results go.
#[derive(Debug)]
pub(crate) struct Screen {
    form: Form,
    out: RefCell<BufWriter<Stdout>>,
}

impl Screen {
    /// A screen on stdout; `quiet` goes before `output`.
    pub(crate) fn new(output: Output, quiet: bool) -> Self {
        let form = match (quiet, output) {
            (true, _) => Form::Quiet,
            (false, Output::Table) => Form::Table,
            (false, Output::Json) => Form::Json,
        };
        Self {
            form,
            out: RefCell::new(BufWriter::new(io::stdout())),
        }
    }

    /// The form results are to have.
    pub(crate) fn form(&self) -> Form {
        self.form
    }

    /// Writes text as it stands.
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        self.out
            .borrow_mut()
            .write_all(text.as_bytes())
            .map_err(|error| Failure::output(&error))
    }

    /// Writes a line.
    pub(crate) fn line(&self, line: &str) -> Result<(), Failure> {
        self.text(line)?;
        self.text("\n")
    }

    /// Writes a value as JSON.
    pub(crate) fn json<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        self.line(&to_json(value))
    }

    /// Writes a value as JSON on one line; for streams that have no end.
    pub(crate) fn json_line<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        self.line(&serde_json::to_string(value).expect(PLAIN))
    }

    /// Shows one answer: `quiet` lines, or text for people, or the answer itself.
    pub(crate) fn show<T: Serialize>(
        &self,
        answer: &T,
        quiet: &[&str],
        table: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match self.form {
            Form::Quiet => quiet.iter().try_for_each(|line| self.line(line)),
            Form::Table => self.text(&table()),
            Form::Json => self.json(answer),
        }
    }

    /// Says something worth knowing on stderr; in JSON the answer itself carries it.
    pub(crate) fn warning(&self, text: &str) {
        if self.form != Form::Json {
            note(&format!(
                "{} {}",
                Paint::of(Stream::Stderr).warn("warning:"),
                clean(text)
            ));
        }
    }

    /// Hands everything written so far to the reader.
    pub(crate) fn flush(&self) -> Result<(), Failure> {
        self.out
            .borrow_mut()
            .flush()
            .map_err(|error| Failure::output(&error))
    }
}

/// Writes a line on stderr; a closed stderr is nobody's concern.
pub(crate) fn note(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value).expect(PLAIN)
}

/// A JSON array that is written as its items come, so that a listing of any length needs no memory.
#[derive(Debug)]
pub(crate) struct JsonArray<'a> {
    screen: &'a Screen,
    is_empty: bool,
}

impl<'a> JsonArray<'a> {
    /// An array on the screen.
    pub(crate) fn new(screen: &'a Screen) -> Self {
        Self {
            screen,
            is_empty: true,
        }
    }

    /// Writes one more item.
    pub(crate) fn push<T: Serialize>(&mut self, item: &T) -> Result<(), Failure> {
        self.screen.text(if self.is_empty { "[" } else { "," })?;
        self.is_empty = false;
        for line in to_json(item).lines() {
            self.screen.text(&format!("\n  {line}"))?;
        }
        Ok(())
    }

    /// Writes the end.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        self.screen
            .text(if self.is_empty { "[]\n" } else { "\n]\n" })
    }
}

/// A table without lines, columns set off by two spaces; `right` names the columns of numbers.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>], right: &[usize]) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .force_no_tty()
        .set_header(head);
    for row in rows {
        table.add_row(row.iter().map(|cell| clean(cell)));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}

/// Lines of `Name  value`, the names padded to one width; later lines of a value stand below its first.
pub(crate) fn facts(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in facts {
        let mut name = *name;
        for line in value.split('\n') {
            let row = format!("{name:width$}  {}", clean(line));
            text.push_str(row.trim_end());
            text.push('\n');
            name = "";
        }
    }
    text
}

#[cfg(test)]
mod tests;
