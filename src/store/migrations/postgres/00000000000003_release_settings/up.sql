-- The tool's settings as they were when the release was made: an older program leaves them out, and the tool's own count.
ALTER TABLE releases ADD COLUMN settings TEXT COLLATE "C";
