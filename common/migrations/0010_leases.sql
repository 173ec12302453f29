-- When a lease was last given; beside `moved_at`, which an index has, so that giving it changes no index.
ALTER TABLE deliveries ADD COLUMN leased_at BIGINT;
UPDATE deliveries SET leased_at = moved_at WHERE lease_until IS NOT NULL;
-- Room in each page for the rows that are written there again.
{postgres} ALTER TABLE deliveries SET (fillfactor = 60);
