-- What several servers share. An older program leaves all of it alone.

-- Why whoever runs a build is to end it, and the server whose client waits for a build.
ALTER TABLE builds ADD COLUMN stop TEXT;
ALTER TABLE builds ADD COLUMN attached_to TEXT;

-- Git repositories whose packs are objects: the version grows with each change of what follows.
CREATE TABLE repositories (
    tool_id INTEGER NOT NULL PRIMARY KEY REFERENCES tools (id) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    head TEXT NOT NULL
) STRICT;
CREATE TABLE repository_refs (
    tool_id INTEGER NOT NULL REFERENCES repositories (tool_id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    PRIMARY KEY (tool_id, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE repository_packs (
    tool_id INTEGER NOT NULL REFERENCES repositories (tool_id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    PRIMARY KEY (tool_id, name)
) STRICT, WITHOUT ROWID;
-- Where the history of shallow clients is cut off.
CREATE TABLE repository_cuts (
    tool_id INTEGER NOT NULL REFERENCES repositories (tool_id) ON DELETE CASCADE,
    commit_id TEXT NOT NULL,
    PRIMARY KEY (tool_id, commit_id)
) STRICT, WITHOUT ROWID;

-- Logs that are written and read by several servers: a state each, and pieces of numbered lines until the log is an object.
CREATE TABLE logs (
    name TEXT NOT NULL PRIMARY KEY,
    last INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    closed INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE log_pieces (
    log TEXT NOT NULL REFERENCES logs (name) ON DELETE CASCADE,
    first INTEGER NOT NULL,
    lines TEXT NOT NULL,
    PRIMARY KEY (log, first)
) STRICT, WITHOUT ROWID;
