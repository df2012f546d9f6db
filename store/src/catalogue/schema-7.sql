-- What was removed and can be taken back. Such a snapshot is `deleting`; what it was called lies here, with blanks between.
CREATE TABLE trash (
    snapshot      BLOB PRIMARY KEY REFERENCES snapshots (id) ON DELETE CASCADE,
    cause         TEXT NOT NULL CHECK (cause IN ('remove', 'forget', 'expire')),
    trashed_at    INTEGER NOT NULL,
    goes_at       INTEGER NOT NULL,
    grace_seconds INTEGER NOT NULL CHECK (grace_seconds > 0),
    names         TEXT NOT NULL,
    immutable     TEXT NOT NULL,
    versions      TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX trash_by_time ON trash (goes_at, snapshot);
