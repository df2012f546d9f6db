-- How long a snapshot may go without a use before it expires, in seconds, and from when on that is counted at the earliest.
ALTER TABLE snapshots ADD COLUMN unused_seconds INTEGER CHECK (unused_seconds > 0);
ALTER TABLE snapshots ADD COLUMN unused_since INTEGER;
