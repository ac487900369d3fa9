DROP TABLE log_pieces;
DROP TABLE logs;
DROP TABLE repository_cuts;
DROP TABLE repository_packs;
DROP TABLE repository_refs;
DROP TABLE repositories;
ALTER TABLE builds DROP COLUMN attached_to;
ALTER TABLE builds DROP COLUMN stop;
