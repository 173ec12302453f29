-- Where each worker's breakers stand, for people: nobody but the worker itself knows, and nothing is decided by what stands
-- here. A worker that died leaves rows that are not believed any more after a while.
CREATE TABLE breakers (
    target  TEXT   NOT NULL,
    worker  TEXT   NOT NULL,
    -- closed, half-open or open; of the endpoints only those that are not closed
    level   TEXT   NOT NULL,
    -- since when it has been closed, or has not been
    since   BIGINT NOT NULL,
    -- when the worker last said so
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (target, worker)
);
