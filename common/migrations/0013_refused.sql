-- Events by which ingress tells of refused requests: few, and looked for among all others.

CREATE INDEX events_of_refusals ON events (received_at) WHERE provider_event = 'source.refused';
