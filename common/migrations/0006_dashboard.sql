-- Sessions of the dashboard. What the browser holds is not here, only its SHA-256; nor is the key that it was opened with.
CREATE TABLE sessions (
    hash       TEXT   NOT NULL PRIMARY KEY,
    key_name   TEXT   NOT NULL,
    -- of a key that the ledger keeps; null for a configured one
    key_id     TEXT,
    -- HMAC-SHA256 of the key, by what the browser holds: tells whether a configured key is still the same
    proof      TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    -- when it was last used, to the minute
    seen_at    BIGINT NOT NULL
);
CREATE INDEX sessions_by_use ON sessions (seen_at);
