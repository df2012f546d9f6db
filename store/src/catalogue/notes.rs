//! What the daemon remembers of its own upkeep: a text by a name.

use rusqlite::{OptionalExtension, params};

use super::Catalogue;
use crate::error::Result;

impl Catalogue {
    /// What was noted under that name.
    pub fn note(&self, name: &str) -> Result<Option<String>> {
        self.read("read a note", |transaction| {
            let sql = "SELECT text FROM notes WHERE name = ?";
            let found = transaction.query_row(sql, [name], |row| row.get(0));
            Ok(found.optional()?)
        })
    }

    /// Notes it, in place of what was noted under that name.
    pub fn set_note(&self, name: &str, text: &str) -> Result<()> {
        self.write("make a note", |transaction| {
            let sql = "INSERT OR REPLACE INTO notes (name, text) VALUES (?, ?)";
            transaction.execute(sql, params![name, text])?;
            Ok(())
        })
    }
}
