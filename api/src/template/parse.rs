//! A template's file to a template, with the line that is wrong when one is.

use super::Template;
use crate::error::{ErrorCode, ErrorReport};

/// Longest file, in bytes.
const MAX_BYTES: usize = 256 * 1024;

impl Template {
    /// Parses the text of a file, called `file` in errors.
    ///
    /// # Errors
    /// `invalid-template`, with the line when the text is at fault and with the field when its value is.
    pub fn parse(text: &str, file: &str) -> Result<Self, ErrorReport> {
        if text.len() > MAX_BYTES {
            let message = format!("{file} is longer than {MAX_BYTES} bytes");
            return Err(invalid(message));
        }
        let template: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| line_of(text, span.start));
            let place = line.map_or_else(|| file.to_owned(), |line| format!("{file}, line {line}"));
            let why = error.message().split_whitespace().collect::<Vec<_>>();
            invalid(format!("{place}: {}", why.join(" ")))
        })?;
        template.check().map_err(|mut report| {
            report.message = format!("{file}: {}", report.message);
            report
        })?;
        Ok(template)
    }
}

/// A template that is none.
pub(super) fn invalid(message: String) -> ErrorReport {
    ErrorReport::new(ErrorCode::Usage, "invalid-template", message)
        .hint("docs/templates.md says what a template has")
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}
