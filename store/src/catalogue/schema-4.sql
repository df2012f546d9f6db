-- The memory of a container's processes: the size of its images, or why there are none; neither when it was not wanted.
ALTER TABLE snapshots ADD COLUMN memory_bytes INTEGER;
ALTER TABLE snapshots ADD COLUMN memory_failure TEXT;
