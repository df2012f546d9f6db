-- What snapshots were restored for.
CREATE TABLE restores (
    snapshot   BLOB PRIMARY KEY REFERENCES snapshots (id) ON DELETE CASCADE,
    restores   INTEGER NOT NULL,
    containers INTEGER NOT NULL,
    saved_us   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What is captured by itself, when, and what came of the last attempt; a source is an id or the bytes of a path.
CREATE TABLE autos (
    namespace     TEXT NOT NULL,
    name          TEXT NOT NULL,
    source        BLOB NOT NULL,
    is_container  INTEGER NOT NULL,
    schedule      TEXT NOT NULL,
    memory        INTEGER NOT NULL,
    next_at       INTEGER,
    last_at       INTEGER,
    last_snapshot BLOB CHECK (length(last_snapshot) = 16),
    failure       TEXT,
    failures      INTEGER NOT NULL,
    PRIMARY KEY (namespace, name)
) STRICT, WITHOUT ROWID;
