-- Reconciliations: what platforms list, compared with what the ledger holds.

-- One asked for by a person or by the schedule, for one target or for all whose platforms can be read.
CREATE TABLE reconciliations (
    id          TEXT   NOT NULL PRIMARY KEY,
    actor       TEXT   NOT NULL,
    -- null for all
    target      TEXT,
    repair      BIGINT NOT NULL,
    -- which turn of the schedule it is, so that there is one of each; null where a person asked
    turn        BIGINT UNIQUE,
    state       TEXT   NOT NULL,
    error       TEXT,
    created_at  BIGINT NOT NULL,
    finished_at BIGINT,
    -- who does it: a new name each time that somebody takes it
    lease_owner TEXT,
    lease_until BIGINT
);
CREATE INDEX reconciliations_by_time ON reconciliations (created_at, id);
CREATE INDEX reconciliations_running ON reconciliations (created_at) WHERE state = 'running';

-- What came of one list. It is done where `finished_at` is set, and begun anew where a process died before.
CREATE TABLE reconciled_lists (
    reconciliation TEXT   NOT NULL,
    target         TEXT   NOT NULL,
    list           TEXT   NOT NULL,
    -- whom the platform lists, and how many of its entries name nobody
    listed         BIGINT NOT NULL DEFAULT 0,
    unread         BIGINT NOT NULL DEFAULT 0,
    only_theirs    BIGINT NOT NULL DEFAULT 0,
    only_ours      BIGINT NOT NULL DEFAULT 0,
    differs        BIGINT NOT NULL DEFAULT 0,
    repaired       BIGINT NOT NULL DEFAULT 0,
    -- why it could not be compared
    error          TEXT,
    finished_at    BIGINT,
    PRIMARY KEY (reconciliation, target, list)
);

-- Whom the list that is being compared holds: taken away once it is.
CREATE TABLE listed (
    reconciliation TEXT   NOT NULL,
    contact        TEXT   NOT NULL,
    channel        TEXT   NOT NULL,
    since          BIGINT,
    lane           TEXT   NOT NULL,
    reason         TEXT,
    PRIMARY KEY (reconciliation, contact, channel)
);

CREATE TABLE differences (
    id             TEXT   NOT NULL PRIMARY KEY,
    reconciliation TEXT   NOT NULL,
    found_at       BIGINT NOT NULL,
    target         TEXT   NOT NULL,
    list           TEXT   NOT NULL,
    difference     TEXT   NOT NULL,
    channel        TEXT   NOT NULL,
    contact        TEXT   NOT NULL,
    -- what the platform says
    listed_since   BIGINT,
    listed_lane    TEXT,
    listed_reason  TEXT,
    -- what the ledger says: the register, the event that set it, and how its delivery stands
    scope          TEXT,
    source         TEXT,
    lane           TEXT,
    occurred_at    BIGINT,
    event_id       TEXT,
    delivery       TEXT,
    repaired       BIGINT NOT NULL
);
-- Each contact of a list differs once.
CREATE UNIQUE INDEX differences_once ON differences (reconciliation, target, list, contact, channel);
CREATE INDEX differences_by_time ON differences (reconciliation, found_at, id);
CREATE INDEX differences_by_kind ON differences (reconciliation, difference, found_at, id);
CREATE INDEX differences_by_contact ON differences (contact);
