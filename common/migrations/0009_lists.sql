-- What lists are filtered by where few rows match, which would else be looked for among all that there ever were.

-- Of one source, and when it was last heard of. It grows at the end of each source's part.
CREATE INDEX events_by_source ON events (source, received_at, id);
-- Of one kind, but for those that are many of all events: these are found from the newest on.
CREATE INDEX events_by_kind ON events (kind, received_at, id) WHERE kind NOT IN ('delivered', 'opened', 'clicked');
CREATE INDEX registers_lifted ON registers (occurred_at, id) WHERE suppressed = 0;
CREATE INDEX sessions_by_key ON sessions (key_name, seen_at);
