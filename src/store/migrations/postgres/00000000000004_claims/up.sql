-- Leases, and who runs a build until when. An older program leaves both alone.
CREATE TABLE leases (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    holder TEXT COLLATE "C",
    fence BIGINT NOT NULL,
    held_until BIGINT NOT NULL
);
ALTER TABLE builds ADD COLUMN claimed_by TEXT COLLATE "C";
ALTER TABLE builds ADD COLUMN claimed_until BIGINT;

-- Whoever listens is woken by what a turn, a rollout or a route may depend on; claims and uses are no news.
CREATE FUNCTION hythe_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('hythe', TG_TABLE_NAME);
    RETURN NULL;
END
$$;
CREATE TRIGGER builds_changed AFTER INSERT OR DELETE OR UPDATE OF state, release_number ON builds
    FOR EACH STATEMENT EXECUTE FUNCTION hythe_changed();
CREATE TRIGGER releases_changed AFTER INSERT OR DELETE OR UPDATE OF state ON releases
    FOR EACH STATEMENT EXECUTE FUNCTION hythe_changed();
CREATE TRIGGER tools_changed AFTER INSERT OR DELETE OR UPDATE OF settings ON tools
    FOR EACH STATEMENT EXECUTE FUNCTION hythe_changed();
