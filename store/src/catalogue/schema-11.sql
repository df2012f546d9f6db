-- Ends of containers that snapshots are made upon: the last one that was met, when one is due and not before when, and what came of the last.
CREATE TABLE triggers (
    namespace     TEXT NOT NULL,
    container     TEXT NOT NULL,
    cause         TEXT NOT NULL CHECK (cause IN ('exit', 'stop', 'oom')),
    ended_ms      INTEGER NOT NULL,
    due_at        INTEGER,
    quiet_until   INTEGER NOT NULL,
    strikes       INTEGER NOT NULL,
    held_back     INTEGER NOT NULL,
    last_at       INTEGER,
    last_snapshot BLOB CHECK (length(last_snapshot) = 16),
    failure       TEXT,
    failures      INTEGER NOT NULL,
    PRIMARY KEY (namespace, container)
) STRICT, WITHOUT ROWID;
