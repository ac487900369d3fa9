-- What instances have answered by each server's router, told while a canary is watched. An older program leaves it alone.
CREATE TABLE instance_answers (
    tool_id BIGINT NOT NULL REFERENCES tools (id) ON DELETE CASCADE,
    server TEXT COLLATE "C" NOT NULL,
    instance TEXT COLLATE "C" NOT NULL,
    answers BIGINT NOT NULL,
    errors BIGINT NOT NULL,
    told_at BIGINT NOT NULL,
    PRIMARY KEY (tool_id, server, instance)
);
