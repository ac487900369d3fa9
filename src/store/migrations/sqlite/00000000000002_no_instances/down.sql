CREATE TABLE instances (
    id TEXT NOT NULL PRIMARY KEY,
    tool_id INTEGER NOT NULL REFERENCES tools (id) ON DELETE CASCADE,
    release_number INTEGER NOT NULL,
    process TEXT NOT NULL,
    place INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    sandbox TEXT NOT NULL,
    state TEXT NOT NULL,
    port INTEGER NOT NULL,
    started_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX instances_by_tool ON instances (tool_id);
