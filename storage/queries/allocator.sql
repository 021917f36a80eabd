-- open_place: make the partition's row at the first sight of the partition
INSERT INTO partitions (topic, partition, partition_count, cluster_id) VALUES ($1, $2, $3, $4)
ON CONFLICT (topic, partition) DO NOTHING;

-- take_place: the partition's row, once no transaction is changing it any more
SELECT partition_count, cluster_id, next_offset, published_offset
FROM partitions WHERE topic = $1 AND partition = $2 FOR UPDATE;

-- last_catalogue: which catalogue decided last
SELECT sha256 FROM catalogues WHERE topic = $1 AND partition = $2 ORDER BY from_offset DESC LIMIT 1;

-- advance: move the partition's place from $3 to $4; no row means that another consumer owns it now
UPDATE partitions
SET next_offset = $4,
    published_offset = greatest(published_offset, $5),
    applied = applied + $6,
    no_effect = no_effect + $7,
    dead_letters = dead_letters + $8,
    dropped_fields = dropped_fields + $9,
    early_finals = early_finals + $10
WHERE topic = $1 AND partition = $2 AND next_offset = $3
RETURNING 1;

-- note_published: the watermark of the outbox, which only grows
UPDATE partitions SET published_offset = $3
WHERE topic = $1 AND partition = $2 AND published_offset < $3 AND next_offset >= $3;

-- record_catalogue: from this offset on, this catalogue decides
INSERT INTO catalogues (topic, partition, from_offset, sha256, content) VALUES ($1, $2, $3, $4, $5);

-- orders_named: the orders of a batch, each with the wallet that it holds
SELECT o.currency, o.order_id, o.status, o.network, o.amount, o.email, o.locale, o.expires_at, o.traceparent,
       o.queue_place, o.address, o.reason, o.actor, o.pending_offset, o.pending_at, o.paid_offset,
       o.processing_offset, o.ended_offset, o.ended_at,
       w.status AS w_status, w.added_offset AS w_added_offset, w.assigned_offset AS w_assigned_offset,
       w.retiring AS w_retiring, w.retired_offset AS w_retired_offset
FROM unnest($1::text::text[], $2::text::text[]) AS named (currency, order_id)
JOIN orders o USING (currency, order_id)
LEFT JOIN wallets w ON w.currency = o.currency AND w.network = o.network AND w.address = o.address;

-- wallets_named: the wallets that a batch's wallet events name
SELECT w.currency, w.network, w.address, w.status, w.added_offset, w.free_place, w.order_id, w.assigned_offset,
       w.retiring, w.cooling_assignment_id, w.cooling_until, w.retired_offset
FROM unnest($1::text::text[], $2::text::text[], $3::text::text[]) AS named (currency, network, address)
JOIN wallets w USING (currency, network, address);

-- first_free: for each pool its first free wallets, oldest place first, as many as $3 says
SELECT w.currency, w.network, w.address, w.status, w.added_offset, w.free_place, w.order_id, w.assigned_offset,
       w.retiring, w.cooling_assignment_id, w.cooling_until, w.retired_offset
FROM unnest($1::text::text[], $2::text::text[], $3::text::int[]) AS pool (currency, network, many)
CROSS JOIN LATERAL (
    SELECT * FROM wallets w
    WHERE w.currency = pool.currency AND w.network = pool.network AND w.free_place IS NOT NULL
    ORDER BY w.free_place LIMIT pool.many
) w;

-- first_waiting: for each pool its first waiting orders, oldest first, as many as $3 says
SELECT o.currency, o.order_id, o.status, o.network, o.amount, o.email, o.locale, o.expires_at, o.traceparent,
       o.queue_place, o.address, o.reason, o.actor, o.pending_offset, o.pending_at, o.paid_offset,
       o.processing_offset, o.ended_offset, o.ended_at
FROM unnest($1::text::text[], $2::text::text[], $3::text::int[]) AS pool (currency, network, many)
CROSS JOIN LATERAL (
    SELECT * FROM orders o
    WHERE o.currency = pool.currency AND o.network = pool.network AND o.queue_place IS NOT NULL
    ORDER BY o.queue_place LIMIT pool.many
) o;

-- update_orders: what can change of an order that is known
UPDATE orders o
SET status = c.status, network = c.network, amount = c.amount, queue_place = c.queue_place, address = c.address,
    reason = c.reason, actor = c.actor, pending_offset = c.pending_offset, pending_at = c.pending_at,
    paid_offset = c.paid_offset, processing_offset = c.processing_offset, ended_offset = c.ended_offset,
    ended_at = c.ended_at
FROM unnest($1::text::text[], $2::text::text[], $3::text::text[], $4::text::text[], $5::text::text[], $6::text::bigint[], $7::text::text[], $8::text::text[],
            $9::text::text[], $10::text::bigint[], $11::text::timestamptz[], $12::text::bigint[], $13::text::bigint[], $14::text::bigint[],
            $15::text::timestamptz[])
     AS c (currency, order_id, status, network, amount, queue_place, address, reason, actor, pending_offset,
           pending_at, paid_offset, processing_offset, ended_offset, ended_at)
WHERE o.currency = c.currency AND o.order_id = c.order_id;

-- insert_wallets: wallets that were not known
INSERT INTO wallets (currency, network, address, status, added_offset, free_place, order_id, assigned_offset,
                     retiring, cooling_assignment_id, cooling_until, retired_offset)
SELECT * FROM unnest($1::text::text[], $2::text::text[], $3::text::text[], $4::text::text[], $5::text::bigint[], $6::text::bigint[], $7::text::text[],
                     $8::text::bigint[], $9::text::boolean[], $10::text::uuid[], $11::text::timestamptz[], $12::text::bigint[]);

-- update_wallets: what can change of a wallet that is known
UPDATE wallets w
SET status = c.status, added_offset = c.added_offset, free_place = c.free_place, order_id = c.order_id,
    assigned_offset = c.assigned_offset, retiring = c.retiring, cooling_assignment_id = c.cooling_assignment_id,
    cooling_until = c.cooling_until, retired_offset = c.retired_offset
FROM unnest($1::text::text[], $2::text::text[], $3::text::text[], $4::text::text[], $5::text::bigint[], $6::text::bigint[], $7::text::text[],
            $8::text::bigint[], $9::text::boolean[], $10::text::uuid[], $11::text::timestamptz[], $12::text::bigint[])
     AS c (currency, network, address, status, added_offset, free_place, order_id, assigned_offset, retiring,
           cooling_assignment_id, cooling_until, retired_offset)
WHERE w.currency = c.currency AND w.network = c.network AND w.address = c.address;

-- close_assignments: these end; before new ones begin, since a wallet has one open assignment at most
UPDATE assignments a
SET released_offset = c.released_offset, released_at = c.released_at
FROM unnest($2::text::bigint[], $3::text::bigint[], $4::text::timestamptz[]) AS c (assigned_offset, released_offset, released_at)
WHERE a.partition = $1 AND a.assigned_offset = c.assigned_offset AND a.released_offset IS NULL
RETURNING 1;

-- insert_dead_letters: records that were refused
INSERT INTO dead_letters (topic, partition, "offset", reason, message, record_at, key, value, value_length,
                          value_sha256, traceparent)
SELECT $1::text, $2::int, * FROM unnest($3::bigint[], $4::text[], $5::text[], $6::timestamptz[], $7::bytea[],
                                        $8::bytea[], $9::bigint[], $10::text[], $11::text[]);

-- unpublished_notifications: what the outbox holds from $2 up to $3, in offset order
SELECT a.assignment_id, a.assigned_offset, a.released_offset, a.currency, a.network, a.address, a.order_id,
       a.waited, a.assigned_at, a.released_at, o.amount, o.expires_at, o.traceparent
FROM assignments a JOIN orders o USING (currency, order_id)
WHERE a.partition = $1 AND a.assigned_offset >= $2 AND a.assigned_offset < $3
ORDER BY a.assigned_offset LIMIT $4;

-- unpublished_dead_letters: the refused records from $3 up to $4, in offset order
SELECT "offset", reason, message, record_at, key, value, value_length, value_sha256, traceparent
FROM dead_letters
WHERE topic = $1 AND partition = $2 AND "offset" >= $3 AND "offset" < $4
ORDER BY "offset" LIMIT $5;
