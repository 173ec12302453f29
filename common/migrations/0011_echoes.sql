-- Echoes: events by which a platform only reports back what it was told.

-- The event that was told there; null for one that says something new. One with it has the effect 'none'.
ALTER TABLE events ADD COLUMN echo_of TEXT;
-- What a contact's platforms were told is looked for among its changes, which are few, and not among all that was delivered
-- and opened. Partial, so that those are not entered.
CREATE INDEX events_with_effect ON events (contact, channel) WHERE effect <> 'none';
