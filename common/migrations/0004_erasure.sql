-- Erasure on request: what is needed to find all that is held of a contact, and to know afterwards that it was erased.

-- Which envelopes brought an event again: their payloads name the same contact.
CREATE TABLE repeats (
    event_id    TEXT NOT NULL,
    envelope_id TEXT NOT NULL,
    PRIMARY KEY (event_id, envelope_id)
);

-- 1 once it named a contact that was erased: the body and the headers are gone.
ALTER TABLE envelopes ADD COLUMN erased BIGINT NOT NULL DEFAULT 0;
-- 1 once the contact of its event was erased: it is not told again.
ALTER TABLE deliveries ADD COLUMN erased BIGINT NOT NULL DEFAULT 0;

-- Names the pepper of the hashes that stand for erased contacts, once there are any. By another one they would not be found.
CREATE TABLE pepper (
    only_one BIGINT NOT NULL PRIMARY KEY,
    id       TEXT   NOT NULL
);
