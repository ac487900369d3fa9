DROP TRIGGER tools_changed ON tools;
DROP TRIGGER releases_changed ON releases;
DROP TRIGGER builds_changed ON builds;
DROP FUNCTION hythe_changed;
ALTER TABLE builds DROP COLUMN claimed_until;
ALTER TABLE builds DROP COLUMN claimed_by;
DROP TABLE leases;
