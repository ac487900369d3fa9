ALTER TABLE builds DROP COLUMN claimed_until;
ALTER TABLE builds DROP COLUMN claimed_by;
DROP TABLE leases;
