-- What the repository says of how a release runs: an older program leaves it out, and nothing is said then.
ALTER TABLE releases ADD COLUMN project TEXT;
