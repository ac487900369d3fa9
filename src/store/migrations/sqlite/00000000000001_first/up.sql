-- The first schema. Times are microseconds since 1970; JSON columns hold the types of the model room.
-- Later migrations add (expand) first and remove (contract) a version later; one that an older program cannot
-- live with raises schema_info.min_binary.

CREATE TABLE schema_info (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    min_binary INTEGER NOT NULL
) STRICT;
INSERT INTO schema_info (id, min_binary) VALUES (1, 1);

CREATE TABLE maintainers (
    name TEXT NOT NULL PRIMARY KEY,
    admin INTEGER NOT NULL CHECK (admin IN (0, 1)),
    created_at INTEGER NOT NULL
) STRICT;

-- AUTOINCREMENT, here and below: the number of something removed never names something new.
CREATE TABLE tools (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    settings TEXT NOT NULL,
    next_release INTEGER NOT NULL DEFAULT 1,
    next_config INTEGER NOT NULL DEFAULT 1,
    deployed_ref TEXT,
    deployed_commit TEXT,
    last_turn_at INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    CHECK ((deployed_ref IS NULL) = (deployed_commit IS NULL))
) STRICT;

CREATE TABLE members (
    tool_id INTEGER NOT NULL REFERENCES tools (id) ON DELETE CASCADE,
    maintainer TEXT NOT NULL REFERENCES maintainers (name) ON DELETE CASCADE,
    role TEXT NOT NULL,
    PRIMARY KEY (tool_id, maintainer)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_by_maintainer ON members (maintainer);

CREATE TABLE ssh_keys (
    fingerprint TEXT NOT NULL PRIMARY KEY,
    maintainer TEXT REFERENCES maintainers (name) ON DELETE CASCADE,
    tool_id INTEGER REFERENCES tools (id) ON DELETE CASCADE,
    algorithm TEXT NOT NULL,
    openssh TEXT NOT NULL,
    title TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    last_used_at INTEGER,
    CHECK ((maintainer IS NULL) <> (tool_id IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX ssh_keys_by_maintainer ON ssh_keys (maintainer);
CREATE INDEX ssh_keys_by_tool ON ssh_keys (tool_id);

CREATE TABLE tokens (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    maintainer TEXT NOT NULL REFERENCES maintainers (name) ON DELETE CASCADE,
    name TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    last_used_at INTEGER
) STRICT;
CREATE INDEX tokens_by_maintainer ON tokens (maintainer);

CREATE TABLE builds (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    tool_id INTEGER NOT NULL REFERENCES tools (id) ON DELETE CASCADE,
    state TEXT NOT NULL,
    source TEXT NOT NULL,
    reference TEXT NOT NULL,
    old_commit TEXT,
    options TEXT NOT NULL,
    cause TEXT NOT NULL,
    actor TEXT NOT NULL,
    image TEXT,
    release_number INTEGER,
    fault TEXT,
    superseded_by INTEGER,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    ended_at INTEGER
) STRICT;
CREATE INDEX builds_by_tool ON builds (tool_id, id);
CREATE INDEX builds_unfinished ON builds (id) WHERE state IN ('queued', 'running');

CREATE TABLE releases (
    tool_id INTEGER NOT NULL REFERENCES tools (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    image TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    processes TEXT NOT NULL,
    config INTEGER NOT NULL,
    formation TEXT NOT NULL,
    cause TEXT NOT NULL,
    message TEXT,
    actor TEXT NOT NULL,
    state TEXT NOT NULL,
    fault TEXT,
    build_id INTEGER,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tool_id, number)
) STRICT, WITHOUT ROWID;
-- Whatever the program does, two releases of a tool are never live.
CREATE UNIQUE INDEX releases_live ON releases (tool_id) WHERE state = 'live';
CREATE INDEX releases_rolling_out ON releases (tool_id) WHERE state = 'rolling-out';

CREATE TABLE config_versions (
    tool_id INTEGER NOT NULL REFERENCES tools (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    actor TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tool_id, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE config_values (
    tool_id INTEGER NOT NULL,
    version INTEGER NOT NULL,
    key TEXT NOT NULL,
    sealed BLOB NOT NULL,
    scope TEXT NOT NULL,
    PRIMARY KEY (tool_id, version, key),
    FOREIGN KEY (tool_id, version) REFERENCES config_versions (tool_id, number) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

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
