-- How environments are made, as JSON; of what the last build was made, what it made (which may be gone) and when.
CREATE TABLE templates (
    namespace  TEXT NOT NULL,
    name       TEXT NOT NULL,
    definition TEXT NOT NULL,
    key        TEXT NOT NULL,
    snapshot   BLOB NOT NULL CHECK (length(snapshot) = 16),
    built_at   INTEGER NOT NULL,
    PRIMARY KEY (namespace, name)
) STRICT, WITHOUT ROWID;
