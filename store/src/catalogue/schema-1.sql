-- Ids and digests are blobs, paths are blobs of their bytes, times are seconds since 1970.

CREATE TABLE snapshots (
    id            BLOB PRIMARY KEY CHECK (length(id) = 16),
    namespace     TEXT NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('creating', 'active', 'failed', 'deleting')),
    reason        TEXT,
    labels        TEXT NOT NULL,
    source        TEXT NOT NULL,
    is_container  INTEGER NOT NULL,
    image         TEXT,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER,
    last_used_at  INTEGER,
    nodes         INTEGER NOT NULL,
    logical_bytes INTEGER NOT NULL,
    stored_bytes  INTEGER NOT NULL,
    pause_us      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX snapshots_by_age ON snapshots (created_at, id);
CREATE INDEX snapshots_by_namespace ON snapshots (namespace, created_at, id);
CREATE INDEX snapshots_by_expiry ON snapshots (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE names (
    namespace TEXT NOT NULL,
    name      TEXT NOT NULL,
    tag       TEXT NOT NULL,
    snapshot  BLOB NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
    PRIMARY KEY (namespace, name, tag)
) STRICT, WITHOUT ROWID;
CREATE INDEX names_by_snapshot ON names (snapshot);

-- No cascade here: what is in use cannot go, whatever else went wrong.
CREATE TABLE containers (
    namespace   TEXT NOT NULL,
    id          TEXT NOT NULL,
    snapshot    BLOB REFERENCES snapshots (id),
    folder      BLOB NOT NULL,
    is_complete INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (namespace, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX containers_by_snapshot ON containers (snapshot);

CREATE TABLE mounts (
    path     BLOB PRIMARY KEY,
    snapshot BLOB NOT NULL REFERENCES snapshots (id),
    writable BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX mounts_by_snapshot ON mounts (snapshot);

CREATE TABLE bases (
    key           TEXT PRIMARY KEY,
    digest        BLOB NOT NULL CHECK (length(digest) = 32),
    nodes         INTEGER NOT NULL,
    mode          INTEGER NOT NULL,
    uid           INTEGER NOT NULL,
    gid           INTEGER NOT NULL,
    mtime_seconds INTEGER NOT NULL,
    mtime_nanos   INTEGER NOT NULL,
    xattrs        BLOB NOT NULL,
    links         BLOB NOT NULL,
    logical_bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
