-- Snapshots that neither expire nor are removed, and tags that neither move nor go.
ALTER TABLE snapshots ADD COLUMN is_pinned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE names ADD COLUMN is_immutable INTEGER NOT NULL DEFAULT 0;

-- Which number of a name a snapshot is.
CREATE TABLE versions (
    namespace TEXT NOT NULL,
    name      TEXT NOT NULL,
    version   INTEGER NOT NULL CHECK (version > 0),
    snapshot  BLOB NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
    PRIMARY KEY (namespace, name, version)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX versions_by_snapshot ON versions (snapshot, namespace, name);

-- The greatest number a name has given: it stays when the snapshots are gone.
CREATE TABLE counters (
    namespace TEXT NOT NULL,
    name      TEXT NOT NULL,
    last      INTEGER NOT NULL CHECK (last > 0),
    PRIMARY KEY (namespace, name)
) STRICT, WITHOUT ROWID;

-- Where the tag `latest` of a name went; what it came from and went to may be gone.
CREATE TABLE moves (
    namespace    TEXT NOT NULL,
    name         TEXT NOT NULL,
    number       INTEGER NOT NULL,
    moved_at     INTEGER NOT NULL,
    cause        TEXT NOT NULL CHECK (cause IN ('create', 'tag', 'untag', 'rollback', 'undo', 'removal')),
    from_id      BLOB CHECK (length(from_id) = 16),
    from_version INTEGER,
    to_id        BLOB CHECK (length(to_id) = 16),
    to_version   INTEGER,
    PRIMARY KEY (namespace, name, number)
) STRICT, WITHOUT ROWID;

-- What has a name already is a version of it, in the order it was made.
INSERT INTO versions (namespace, name, version, snapshot)
SELECT namespace, name, row_number() OVER (PARTITION BY namespace, name ORDER BY created_at, snapshot), snapshot
FROM (
    SELECT DISTINCT names.namespace AS namespace, names.name AS name, names.snapshot AS snapshot, snapshots.created_at AS created_at
    FROM names JOIN snapshots ON snapshots.id = names.snapshot
);
INSERT INTO counters (namespace, name, last)
SELECT namespace, name, max(version) FROM versions GROUP BY namespace, name;
