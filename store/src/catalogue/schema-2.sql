-- Where a base's layer is to be asked for, and when the base was last of use; empty and 0 for those captured before.
ALTER TABLE bases ADD COLUMN namespace TEXT NOT NULL DEFAULT '';
ALTER TABLE bases ADD COLUMN snapshotter TEXT NOT NULL DEFAULT '';
ALTER TABLE bases ADD COLUMN layer TEXT NOT NULL DEFAULT '';
ALTER TABLE bases ADD COLUMN layer_created TEXT NOT NULL DEFAULT '';
ALTER TABLE bases ADD COLUMN last_used_at INTEGER NOT NULL DEFAULT 0;

-- What is to be remembered of the daemon's own upkeep.
CREATE TABLE notes (
    name TEXT PRIMARY KEY,
    text TEXT NOT NULL
) STRICT, WITHOUT ROWID;
