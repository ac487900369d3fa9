-- What tools print, where several servers share it. An older program leaves all of it alone.

-- Whose log it is, how many pieces of it are rows, and when the last one came. Of a tool's log the bytes are those of its pieces.
ALTER TABLE logs ADD COLUMN tool_id INTEGER REFERENCES tools (id) ON DELETE CASCADE;
ALTER TABLE logs ADD COLUMN pieces INTEGER NOT NULL DEFAULT 0;
ALTER TABLE logs ADD COLUMN written_at INTEGER NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX logs_by_tool ON logs (tool_id);

-- Lines that are an object now, the first and the last of them.
CREATE TABLE log_segments (
    log TEXT NOT NULL REFERENCES logs (name) ON DELETE CASCADE,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (log, first)
) STRICT, WITHOUT ROWID;

-- How far each source of a log's lines was read, at which line of the log that was, and what is told of one that has ended.
CREATE TABLE log_sources (
    log TEXT NOT NULL REFERENCES logs (name) ON DELETE CASCADE,
    source TEXT NOT NULL,
    read_to TEXT NOT NULL,
    position INTEGER NOT NULL,
    told TEXT,
    PRIMARY KEY (log, source)
) STRICT, WITHOUT ROWID;

-- The last batch of lines of each server.
CREATE TABLE log_writers (
    writer TEXT NOT NULL PRIMARY KEY,
    batch INTEGER NOT NULL,
    written_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
