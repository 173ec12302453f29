-- Retention: what finds that which is older than it is kept. Both indexes grow at their end only, so that they cost little.

-- 1 once it was older than payloads are kept: the body and the headers are gone.
ALTER TABLE envelopes ADD COLUMN expired BIGINT NOT NULL DEFAULT 0;
CREATE INDEX envelopes_whole ON envelopes (received_at, id) WHERE erased = 0 AND expired = 0;
CREATE INDEX attempts_by_start ON attempts (started_at);
CREATE INDEX quarantine_by_envelope ON quarantine (envelope_id);
