ALTER TABLE releases DROP COLUMN settings;
