DROP TABLE log_writers;
DROP TABLE log_sources;
DROP TABLE log_segments;
DELETE FROM logs WHERE tool_id IS NOT NULL;
DROP INDEX logs_by_tool;
ALTER TABLE logs DROP COLUMN written_at;
ALTER TABLE logs DROP COLUMN pieces;
ALTER TABLE logs DROP COLUMN tool_id;
