-- What snapshots were restored for.
CREATE TABLE restores (
    snapshot   BLOB PRIMARY KEY REFERENCES snapshots (id) ON DELETE CASCADE,
    restores   INTEGER NOT NULL,
    containers INTEGER NOT NULL,
    saved_us   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
