-- Whether the images of memory are sealed. Those from before are taken for clear until their manifests are asked.
ALTER TABLE snapshots ADD COLUMN memory_is_sealed INTEGER NOT NULL DEFAULT 0 CHECK (memory_is_sealed IN (0, 1));
