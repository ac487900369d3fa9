-- What instances have answered by each server's router, told while a canary is watched. An older program leaves it alone.
CREATE TABLE instance_answers (
    tool_id INTEGER NOT NULL REFERENCES tools (id) ON DELETE CASCADE,
    server TEXT NOT NULL,
    instance TEXT NOT NULL,
    answers INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    told_at INTEGER NOT NULL,
    PRIMARY KEY (tool_id, server, instance)
) STRICT, WITHOUT ROWID;
