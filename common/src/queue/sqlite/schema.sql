-- The queue's tables. Times are microseconds since 1970.

CREATE TABLE IF NOT EXISTS queue (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

-- One row for each open SqliteQueue. Messages in hand belong to it for as long as it renews its lease.
CREATE TABLE IF NOT EXISTS session (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    lease_until INTEGER NOT NULL
);

-- Hands out message ids: one statement for a whole group, and no id is ever used twice.
CREATE TABLE IF NOT EXISTS sequence (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    last INTEGER NOT NULL
);
INSERT OR IGNORE INTO sequence (one, last) VALUES (1, 0);

CREATE TABLE IF NOT EXISTS message (
    id INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL,
    published_at INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    deliveries INTEGER NOT NULL DEFAULT 0,
    session INTEGER,
    parked_from INTEGER
);

-- Apart from its message, so that handing a message out rewrites a few bytes and not 100 KiB.
CREATE TABLE IF NOT EXISTS body (
    message INTEGER PRIMARY KEY,
    bytes BLOB NOT NULL
);

-- Taking from a queue reads only what is due in it, however much is delayed, in hand, or in other queues.
CREATE INDEX IF NOT EXISTS message_ready ON message (queue, due_at) WHERE session IS NULL;
CREATE INDEX IF NOT EXISTS message_in_hand ON message (session) WHERE session IS NOT NULL;
