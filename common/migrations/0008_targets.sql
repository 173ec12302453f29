-- Targets of the configuration that a person has disabled while everything runs. Which targets there are, and which of them
-- are enabled at all, the configuration says; a row here disables one of those until it is taken away again.
CREATE TABLE disabled_targets (
    target      TEXT   NOT NULL PRIMARY KEY,
    disabled_by TEXT   NOT NULL,
    disabled_at BIGINT NOT NULL,
    reason      TEXT
);

-- Tests of such targets: asked for over the api, made once, by one worker. A row is kept for a day.
CREATE TABLE target_tests (
    id       TEXT   NOT NULL PRIMARY KEY,
    target   TEXT   NOT NULL,
    asked_at BIGINT NOT NULL,
    -- when a worker began to make it; null while none has
    taken_at BIGINT,
    -- what came of it, as JSON; null until that is known
    outcome  TEXT
);
CREATE INDEX target_tests_asked ON target_tests (asked_at) WHERE taken_at IS NULL;
