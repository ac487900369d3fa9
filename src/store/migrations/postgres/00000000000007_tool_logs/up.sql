-- What tools print, where several servers share it. An older program leaves all of it alone.

-- Whose log it is, how many pieces of it are rows, and when the last one came. Of a tool's log the bytes are those of its pieces.
ALTER TABLE logs ADD COLUMN tool_id BIGINT REFERENCES tools (id) ON DELETE CASCADE;
ALTER TABLE logs ADD COLUMN pieces BIGINT NOT NULL DEFAULT 0;
ALTER TABLE logs ADD COLUMN written_at BIGINT NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX logs_by_tool ON logs (tool_id);

-- Lines that are an object now, the first and the last of them.
CREATE TABLE log_segments (
    log TEXT COLLATE "C" NOT NULL REFERENCES logs (name) ON DELETE CASCADE,
    first BIGINT NOT NULL,
    last BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    PRIMARY KEY (log, first)
);

-- How far each source of a log's lines was read, at which line of the log that was, and what is told of one that has ended.
CREATE TABLE log_sources (
    log TEXT COLLATE "C" NOT NULL REFERENCES logs (name) ON DELETE CASCADE,
    source TEXT COLLATE "C" NOT NULL,
    read_to TEXT COLLATE "C" NOT NULL,
    position BIGINT NOT NULL,
    told TEXT COLLATE "C",
    PRIMARY KEY (log, source)
);

-- The last batch of lines of each server.
CREATE TABLE log_writers (
    writer TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    batch BIGINT NOT NULL,
    written_at BIGINT NOT NULL
);
