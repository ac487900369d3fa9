ALTER TABLE releases DROP COLUMN project;
