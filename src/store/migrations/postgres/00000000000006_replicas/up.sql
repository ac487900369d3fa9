-- What several servers share. An older program leaves all of it alone.

-- Why whoever runs a build is to end it, and the server whose client waits for a build.
ALTER TABLE builds ADD COLUMN stop TEXT COLLATE "C";
ALTER TABLE builds ADD COLUMN attached_to TEXT COLLATE "C";
CREATE TRIGGER builds_asked AFTER UPDATE OF stop ON builds
    FOR EACH STATEMENT EXECUTE FUNCTION hythe_changed();

-- A lease that was let go of may be waited for; a renewal is no news.
CREATE TRIGGER leases_free AFTER UPDATE OF holder ON leases
    FOR EACH ROW WHEN (NEW.holder IS NULL) EXECUTE FUNCTION hythe_changed();

-- Git repositories whose packs are objects: the version grows with each change of what follows.
CREATE TABLE repositories (
    tool_id BIGINT NOT NULL PRIMARY KEY REFERENCES tools (id) ON DELETE CASCADE,
    version BIGINT NOT NULL,
    head TEXT COLLATE "C" NOT NULL
);
CREATE TABLE repository_refs (
    tool_id BIGINT NOT NULL REFERENCES repositories (tool_id) ON DELETE CASCADE,
    name TEXT COLLATE "C" NOT NULL,
    commit_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tool_id, name)
);
CREATE TABLE repository_packs (
    tool_id BIGINT NOT NULL REFERENCES repositories (tool_id) ON DELETE CASCADE,
    name TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tool_id, name)
);
-- Where the history of shallow clients is cut off.
CREATE TABLE repository_cuts (
    tool_id BIGINT NOT NULL REFERENCES repositories (tool_id) ON DELETE CASCADE,
    commit_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tool_id, commit_id)
);

-- Logs that are written and read by several servers: a state each, and pieces of numbered lines until the log is an object.
CREATE TABLE logs (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    last BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    ended BOOLEAN NOT NULL,
    closed BOOLEAN NOT NULL
);
CREATE TABLE log_pieces (
    log TEXT COLLATE "C" NOT NULL REFERENCES logs (name) ON DELETE CASCADE,
    first BIGINT NOT NULL,
    lines TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (log, first)
);
CREATE FUNCTION hythe_logged() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('hythe_logs', '');
    RETURN NULL;
END
$$;
CREATE TRIGGER logs_changed AFTER INSERT OR UPDATE OR DELETE ON logs
    FOR EACH STATEMENT EXECUTE FUNCTION hythe_logged();
