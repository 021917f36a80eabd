-- The replayed state: SQLite, in a private file that goes with its connection. Columns have no types, so that what is put
-- in comes out as it was; times are microseconds since 1970. Columns stand in the order of the fields of the allocator's
-- Order, Wallet and Assignment.

-- prepare: nobody else reads the file, and nothing of it outlives the process: no journal, no fsync, no commits
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA temp_store = FILE;
PRAGMA cache_size = -32768;
CREATE TABLE orders (
    currency, order_id, status, network, amount, expires_at, traceparent, queue_place, address, email, locale, reason,
    actor, pending_offset, pending_at, paid_offset, processing_offset, ended_offset, ended_at,
    PRIMARY KEY (currency, order_id)
) WITHOUT ROWID;
CREATE INDEX queues ON orders (currency, network, queue_place) WHERE queue_place IS NOT NULL;
CREATE TABLE wallets (
    currency, network, address, status, free_place, order_id, assigned_offset, retiring, cooling_assignment_id,
    cooling_until, added_offset, retired_offset,
    PRIMARY KEY (currency, network, address)
) WITHOUT ROWID;
CREATE INDEX free_lists ON wallets (currency, network, free_place) WHERE free_place IS NOT NULL;
CREATE TABLE assignments (
    partition, assigned_offset, assignment_id, released_offset, currency, network, address, order_id, waited,
    assigned_at, released_at,
    PRIMARY KEY (partition, assigned_offset)
) WITHOUT ROWID;
CREATE TABLE dead_letters (
    partition, "offset", reason, message, record_at, key_sha256, kept_sha256, value_length, value_sha256, traceparent,
    PRIMARY KEY (partition, "offset")
) WITHOUT ROWID;
BEGIN;

-- order: an order by its key
SELECT currency, order_id, status, network, amount, expires_at, traceparent, queue_place, address
FROM orders WHERE currency = ?1 AND order_id = ?2;

-- wallet: a wallet by its key
SELECT currency, network, address, status, free_place, order_id, assigned_offset, retiring, cooling_assignment_id
FROM wallets WHERE currency = ?1 AND network = ?2 AND address = ?3;

-- first_free: the first free wallets of a pool, oldest place first, as many as ?3 says
SELECT currency, network, address, status, free_place, order_id, assigned_offset, retiring, cooling_assignment_id
FROM wallets WHERE currency = ?1 AND network = ?2 AND free_place IS NOT NULL ORDER BY free_place LIMIT ?3;

-- first_waiting: the first waiting orders of a pool, oldest first, as many as ?3 says
SELECT currency, order_id, status, network, amount, expires_at, traceparent, queue_place, address
FROM orders WHERE currency = ?1 AND network = ?2 AND queue_place IS NOT NULL ORDER BY queue_place LIMIT ?3;

-- add_order: an order that was not known
INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- change_order: an order that is known: what has changed of it, as apply_step writes it
UPDATE orders
SET status = ?3, queue_place = ?8, address = ?9,
    reason = CASE WHEN ?3 = status THEN reason ELSE ?12 END,
    actor = CASE WHEN ?3 = status THEN actor ELSE ?13 END,
    network = coalesce(?4, network),
    amount = coalesce(?5, amount),
    pending_offset = coalesce(?14, pending_offset),
    pending_at = coalesce(?15, pending_at),
    paid_offset = coalesce(?16, paid_offset),
    processing_offset = coalesce(?17, processing_offset),
    ended_offset = coalesce(?18, ended_offset),
    ended_at = coalesce(?19, ended_at)
WHERE currency = ?1 AND order_id = ?2;

-- add_wallet: a wallet that was not known
INSERT INTO wallets VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- change_wallet: a wallet that is known: what has changed of it, as apply_step writes it
UPDATE wallets
SET status = ?4, free_place = ?5, order_id = ?6, assigned_offset = ?7, retiring = ?8, cooling_assignment_id = ?9,
    cooling_until = ?10, added_offset = coalesce(?11, added_offset), retired_offset = coalesce(?12, retired_offset)
WHERE currency = ?1 AND network = ?2 AND address = ?3;

-- close_assignment: an assignment of an earlier batch ends
UPDATE assignments SET released_offset = ?3, released_at = ?4 WHERE partition = ?1 AND assigned_offset = ?2;

-- add_assignment: an order holds a wallet
INSERT INTO assignments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- add_dead_letter: a record was refused
INSERT INTO dead_letters VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- orders: all of them, in the order of their keys' bytes
SELECT * FROM orders ORDER BY currency, order_id;

-- wallets: all of them, in the order of their keys' bytes
SELECT * FROM wallets ORDER BY currency, network, address;

-- assignments: all of them, by place
SELECT * FROM assignments ORDER BY partition, assigned_offset;

-- dead_letters: all of them, by place
SELECT * FROM dead_letters ORDER BY partition, "offset";

-- dead_letter_reasons: how many records of each partition were refused for which reason
SELECT partition, reason, count(*) FROM dead_letters GROUP BY partition, reason;
