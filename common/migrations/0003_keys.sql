-- Keys to the api that are made by a command or over the api, beside those of the configuration.
CREATE TABLE keys (
    id         TEXT   NOT NULL PRIMARY KEY,
    name       TEXT   NOT NULL,
    -- check, read, write or admin
    role       TEXT   NOT NULL,
    -- of the key itself: SHA-256 in hex, and its first characters, by which people know it again
    hash       TEXT   NOT NULL,
    hint       TEXT   NOT NULL,
    -- such as 100/1m; null for the one that is configured for all keys
    rate       TEXT,
    created_at BIGINT NOT NULL,
    created_by TEXT   NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);
CREATE UNIQUE INDEX keys_by_hash ON keys (hash);
-- A name is free again once its key was revoked. One that has expired is revoked by whoever takes its name.
CREATE UNIQUE INDEX keys_by_name ON keys (name) WHERE revoked_at IS NULL;
CREATE INDEX keys_by_creation ON keys (created_at, id);
