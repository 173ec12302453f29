-- The ledger. One text for PostgreSQL and SQLite; {bytes} is BYTEA or BLOB. Times are microseconds since 1970, UTC.
-- Ids are UUIDs as text, flags are 0 or 1. There are no foreign keys: rows are written in batches by many workers, and retention removes
-- old payloads and attempts without touching what they belong to.

-- Every accepted request, verbatim: the evidence.
CREATE TABLE envelopes (
    id           TEXT   NOT NULL PRIMARY KEY,
    source       TEXT   NOT NULL,
    provider     TEXT   NOT NULL,
    received_at  BIGINT NOT NULL,
    content_type TEXT,
    headers      TEXT   NOT NULL,
    body         {bytes} NOT NULL,
    events       BIGINT NOT NULL,
    duplicates   BIGINT NOT NULL,
    malformed    BIGINT NOT NULL
);

-- The append-only log: the truth. The primary key is derived from what the event is, so it is what tells duplicates.
CREATE TABLE events (
    id                TEXT    NOT NULL PRIMARY KEY,
    envelope_id       TEXT    NOT NULL,
    source            TEXT    NOT NULL,
    provider          TEXT    NOT NULL,
    kind              TEXT    NOT NULL,
    bounce_class      TEXT,
    channel           TEXT,
    contact           TEXT,
    contact_raw       TEXT,
    scope             TEXT    NOT NULL,
    occurred_at       BIGINT  NOT NULL,
    received_at       BIGINT  NOT NULL,
    recorded_at       BIGINT  NOT NULL,
    time_assumed      BIGINT  NOT NULL,
    reason            TEXT,
    origin            TEXT    NOT NULL,
    effect            TEXT    NOT NULL,
    provider_event    TEXT    NOT NULL,
    provider_event_id TEXT,
    message_id        TEXT,
    campaign_id       TEXT,
    metadata          TEXT    NOT NULL,
    fingerprint       BIGINT  NOT NULL,
    -- 1 once the same identity came with another content: the first is kept
    conflicting       BIGINT  NOT NULL
);
CREATE INDEX events_by_receipt ON events (received_at, id);
CREATE INDEX events_by_contact ON events (contact, received_at, id);
CREATE INDEX events_by_envelope ON events (envelope_id);

-- The fold of the log: one last-writer-wins register per place.
CREATE TABLE registers (
    channel     TEXT    NOT NULL,
    contact     TEXT    NOT NULL,
    scope       TEXT    NOT NULL,
    source      TEXT    NOT NULL,
    lane        TEXT    NOT NULL,
    suppressed  BIGINT  NOT NULL,
    occurred_at BIGINT  NOT NULL,
    event_id    TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    reason      TEXT,
    origin      TEXT    NOT NULL,
    updated_at  BIGINT  NOT NULL,
    PRIMARY KEY (contact, channel, scope, source, lane)
);

CREATE TABLE deliveries (
    id              TEXT   NOT NULL PRIMARY KEY,
    event_id        TEXT   NOT NULL,
    target          TEXT   NOT NULL,
    kind            TEXT   NOT NULL,
    state           TEXT   NOT NULL,
    -- attempts made in the present schedule, and ever
    attempts        BIGINT NOT NULL,
    attempts_ever   BIGINT NOT NULL,
    next_attempt_at BIGINT,
    -- the worker that has it in hand, and until when that is believed
    lease_owner     TEXT,
    lease_until     BIGINT,
    last_status     BIGINT,
    last_error      TEXT,
    created_at      BIGINT NOT NULL,
    -- when it was made, published anew, put off, parked or buried, or an attempt at it recorded
    moved_at        BIGINT NOT NULL,
    delivered_at    BIGINT
);
CREATE INDEX deliveries_by_event ON deliveries (event_id);
CREATE INDEX deliveries_by_creation ON deliveries (created_at, id);
CREATE INDEX deliveries_unfinished ON deliveries (target, state, moved_at) WHERE state <> 'delivered';

CREATE TABLE attempts (
    delivery_id TEXT   NOT NULL,
    number      BIGINT NOT NULL,
    started_at  BIGINT NOT NULL,
    duration_ms BIGINT NOT NULL,
    outcome     TEXT   NOT NULL,
    status      BIGINT,
    error       TEXT,
    answer      TEXT,
    PRIMARY KEY (delivery_id, number)
);

-- What was accepted and could not be read or recorded: kept to be seen, and to be tried again once that is mended.
CREATE TABLE quarantine (
    id          TEXT   NOT NULL PRIMARY KEY,
    envelope_id TEXT   NOT NULL,
    source      TEXT   NOT NULL,
    -- which element of the body, from 0; null for the body as a whole
    element     BIGINT,
    reason      TEXT   NOT NULL,
    -- held, or retried
    state       TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    retried_at  BIGINT
);
CREATE INDEX quarantine_by_creation ON quarantine (created_at, id);
CREATE INDEX quarantine_held ON quarantine (state, created_at) WHERE state = 'held';
