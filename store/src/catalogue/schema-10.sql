-- Volumes: named trees beside containers. Each version is a snapshot of its own; what goes on in containers changes none of them.
CREATE TABLE volumes (
    namespace  TEXT NOT NULL,
    name       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    head       INTEGER NOT NULL,
    PRIMARY KEY (namespace, name)
) STRICT, WITHOUT ROWID;

-- No cascade to snapshots: a version that is there keeps its snapshot.
CREATE TABLE volume_versions (
    namespace TEXT NOT NULL,
    volume    TEXT NOT NULL,
    number    INTEGER NOT NULL,
    snapshot  BLOB NOT NULL REFERENCES snapshots (id),
    made_at   INTEGER NOT NULL,
    PRIMARY KEY (namespace, volume, number),
    FOREIGN KEY (namespace, volume) REFERENCES volumes (namespace, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX volume_versions_by_snapshot ON volume_versions (snapshot);

-- What is mounted in restored containers beside their roots: the ground is what is mounted, the base is what changes are counted from,
-- which is another one after a commit that the container went on from. A subfolder is names with slashes between, empty for all of it.
CREATE TABLE attached (
    namespace    TEXT NOT NULL,
    container    TEXT NOT NULL,
    destination  TEXT NOT NULL,
    volume       TEXT,
    version      INTEGER,
    ground       BLOB NOT NULL REFERENCES snapshots (id),
    base         BLOB NOT NULL REFERENCES snapshots (id),
    subfolder    BLOB NOT NULL,
    is_read_only INTEGER NOT NULL,
    place        INTEGER NOT NULL,
    generation   INTEGER NOT NULL,
    PRIMARY KEY (namespace, container, destination),
    FOREIGN KEY (namespace, container) REFERENCES containers (namespace, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX attached_by_ground ON attached (ground);
CREATE INDEX attached_by_base ON attached (base);
CREATE INDEX attached_by_volume ON attached (namespace, volume);
