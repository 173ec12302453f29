-- What the api keeps: suppressions by id, submissions and consents, the audit trail, endpoints, replays.

-- The one register that a person named, where one did; null where the kind of event says what it sets.
ALTER TABLE events ADD COLUMN register_source TEXT;
ALTER TABLE events ADD COLUMN register_lane TEXT;
-- What is asked of the deadlines: opt-outs by receipt.
CREATE INDEX events_opt_outs ON events (received_at, id) WHERE effect = 'suppress';

-- When it was delivered first: a replay begins a delivery again, and what held once has held in time all the same.
ALTER TABLE deliveries ADD COLUMN first_delivered_at BIGINT;
UPDATE deliveries SET first_delivered_at = delivered_at WHERE delivered_at IS NOT NULL;
-- For lists and replays by target and by state. Partial, so that they cost little on the usual way from pending to
-- delivered, where every row is written three times: the first is entered once, at the end; the second not at all. An index
-- over all rows by target was measured at a fifth of the cost of writing deliveries.
CREATE INDEX deliveries_delivered ON deliveries (target, created_at, id) WHERE state = 'delivered';
CREATE INDEX deliveries_in_trouble ON deliveries (state, created_at, id) WHERE state <> 'delivered' AND state <> 'pending';

-- The name of a register, by which a person lifts it. It stays as long as the row does.
ALTER TABLE registers ADD COLUMN id TEXT;
UPDATE registers SET id = {uuid};
CREATE UNIQUE INDEX registers_by_id ON registers (id);
CREATE INDEX registers_by_time ON registers (occurred_at, id);

-- A form that somebody filled in, and what they agreed to in it.
CREATE TABLE submissions (
    id           TEXT   NOT NULL PRIMARY KEY,
    form         TEXT,
    email        TEXT,
    email_raw    TEXT,
    phone        TEXT,
    phone_raw    TEXT,
    submitted_at BIGINT NOT NULL,
    received_at  BIGINT NOT NULL,
    metadata     TEXT   NOT NULL
);
CREATE INDEX submissions_by_email ON submissions (email);
CREATE INDEX submissions_by_phone ON submissions (phone);

CREATE TABLE consents (
    submission_id TEXT   NOT NULL,
    -- general_contact, primary_purpose, events.NAME or other.NAME
    purpose       TEXT   NOT NULL,
    granted       BIGINT NOT NULL,
    revoked_at    BIGINT,
    -- the event that revoked it
    revoked_by    TEXT,
    PRIMARY KEY (submission_id, purpose)
);

-- Who did what, in one chain: each hash is over the record and the hash before it. What is personal can be erased, since
-- the chain holds only a salted commitment to it.
CREATE TABLE audit (
    seq        BIGINT NOT NULL PRIMARY KEY,
    at         BIGINT NOT NULL,
    actor      TEXT   NOT NULL,
    action     TEXT   NOT NULL,
    -- the id of what it was done to
    subject    TEXT,
    details    TEXT   NOT NULL,
    contact    TEXT,
    personal   TEXT,
    salt       TEXT,
    commitment TEXT   NOT NULL,
    hash       TEXT   NOT NULL
);
CREATE INDEX audit_by_contact ON audit (contact, seq);
CREATE INDEX audit_by_subject ON audit (subject, seq);

-- Targets that users registered over the api.
CREATE TABLE endpoints (
    id              TEXT   NOT NULL PRIMARY KEY,
    url             TEXT   NOT NULL,
    -- kinds of event, a JSON array; ["*"] for all
    events          TEXT   NOT NULL,
    description     TEXT,
    enabled         BIGINT NOT NULL,
    disabled_reason TEXT,
    -- what is signed with, a JSON array, the newest first; those that were rotated out have an `until`
    secrets         TEXT   NOT NULL,
    -- the first of nothing but failures
    failing_since   BIGINT,
    last_success_at BIGINT,
    last_failure_at BIGINT,
    last_error      TEXT,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    -- kept, without URL and secrets, until its last delivery is dead, and a day at least
    deleted_at      BIGINT
);
CREATE INDEX endpoints_by_creation ON endpoints (created_at, id) WHERE deleted_at IS NULL;

-- Grows with every change to the endpoints, and to which targets are disabled, so that workers see at a glance whether what they know is what is.
CREATE TABLE endpoints_version (version BIGINT NOT NULL);
INSERT INTO endpoints_version VALUES (0);

-- Deliveries that are told again by filter, with how far that has come.
CREATE TABLE replays (
    id          TEXT   NOT NULL PRIMARY KEY,
    actor       TEXT   NOT NULL,
    target      TEXT,
    only_state  TEXT,
    kind        TEXT,
    since       BIGINT NOT NULL,
    until       BIGINT NOT NULL,
    dry_run     BIGINT NOT NULL,
    -- the targets that it is for, a JSON array: those that were enabled when it was asked for
    targets     TEXT   NOT NULL,
    -- running, done or failed
    state       TEXT   NOT NULL,
    matched     BIGINT NOT NULL,
    sent        BIGINT NOT NULL,
    -- the last delivery that was dealt with
    cursor_at   BIGINT NOT NULL,
    cursor_id   TEXT   NOT NULL,
    -- where the batch began that is perhaps not published yet; null if all is
    batch_at    BIGINT,
    batch_id    TEXT,
    error       TEXT,
    created_at  BIGINT NOT NULL,
    finished_at BIGINT,
    lease_owner TEXT,
    lease_until BIGINT
);
CREATE INDEX replays_by_creation ON replays (created_at, id);
CREATE INDEX replays_running ON replays (created_at) WHERE state = 'running';
