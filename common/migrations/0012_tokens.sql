-- Tokens of signatures that do not cover the body: each lets one request in. And what tells of changes of address.

CREATE TABLE tokens (
    -- a hash over the provider and what is signed
    id          TEXT   NOT NULL PRIMARY KEY,
    -- the first request that came by it, and a hash over what that said
    envelope_id TEXT   NOT NULL,
    said        TEXT   NOT NULL,
    -- the largest number there is where another request came by it: it is kept for good
    seen_at     BIGINT NOT NULL
);
CREATE INDEX tokens_by_age ON tokens (seen_at);

-- Addresses that somebody had before, as a provider tells it: few, and looked for at each opt-out, among whatever else is known
-- of the contact.
CREATE INDEX events_of_moves ON events (contact, channel) WHERE provider_event = 'upemail:old';
