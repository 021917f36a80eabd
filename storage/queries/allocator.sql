-- open_place: make the partition's row at the first sight of the partition, unless the topic was another one for the others
INSERT INTO partitions (topic, partition, partition_count, cluster_id)
SELECT $1, $2, $3, $4
WHERE NOT EXISTS (SELECT FROM partitions WHERE topic = $1 AND (partition_count, cluster_id) <> ($3, $4))
ON CONFLICT (topic, partition) DO NOTHING;

-- take_place: the partition's row, once no transaction is changing it any more
SELECT partition_count, cluster_id, next_offset, published_offset
FROM partitions WHERE topic = $1 AND partition = $2 FOR UPDATE;

-- other_place: what the topic was for its other partitions, where it was another one than now
SELECT partition_count, cluster_id, 0::bigint, 0::bigint
FROM partitions WHERE topic = $1 AND (partition_count, cluster_id) <> ($2, $3) LIMIT 1;

-- last_catalogue: which catalogue decided last
SELECT sha256 FROM catalogues WHERE topic = $1 AND partition = $2 ORDER BY from_offset DESC LIMIT 1;

-- note_published: the watermark of the outbox, which only grows
UPDATE partitions SET published_offset = $3
WHERE topic = $1 AND partition = $2 AND published_offset < $3 AND next_offset >= $3;

-- gather: a partition's place, and what a batch needs to know, all of one moment: the orders that it names ($3, $4), each
-- with the wallet that it holds; the wallets that it names ($6 to $8); of pools ($9, $10) the first free wallets, as many
-- as $11 says; of pools ($12, $13) the first waiting orders, as many as $14 says and one more for each order that the
-- batch may end ($5)
WITH named AS MATERIALIZED (
    SELECT n.ends, o.currency, o.order_id, o.status, o.network, o.amount, o.expires_at, o.traceparent, o.queue_place,
           o.address
    FROM unnest($3::text::text[], $4::text::text[], $5::text::boolean[]) AS n (currency, order_id, ends)
    JOIN orders o USING (currency, order_id)
)
SELECT 'order' AS what, o.currency, o.order_id, o.status, o.network, o.amount, o.expires_at, o.traceparent,
       o.queue_place, o.address,
       w.status AS w_status, w.free_place, w.order_id, w.assigned_offset, w.retiring, w.cooling_assignment_id
FROM named o
LEFT JOIN wallets w ON w.currency = o.currency AND w.network = o.network AND w.address = o.address
UNION ALL
SELECT 'wallet', w.currency, NULL, NULL, w.network, NULL, NULL, NULL, NULL, w.address,
       w.status, w.free_place, w.order_id, w.assigned_offset, w.retiring, w.cooling_assignment_id
FROM unnest($6::text::text[], $7::text::text[], $8::text::text[]) AS n (currency, network, address)
JOIN wallets w USING (currency, network, address)
UNION ALL
SELECT 'free', w.currency, NULL, NULL, w.network, NULL, NULL, NULL, NULL, w.address,
       w.status, w.free_place, w.order_id, w.assigned_offset, w.retiring, w.cooling_assignment_id
FROM unnest($9::text::text[], $10::text::text[], $11::text::int[]) AS pool (currency, network, many)
CROSS JOIN LATERAL (
    SELECT * FROM wallets w
    WHERE w.currency = pool.currency AND w.network = pool.network AND w.free_place IS NOT NULL
    ORDER BY w.free_place LIMIT pool.many
) w
UNION ALL
SELECT 'waiting', o.currency, o.order_id, o.status, o.network, o.amount, o.expires_at, o.traceparent,
       o.queue_place, o.address, NULL, NULL, NULL, NULL, NULL, NULL
FROM (
    SELECT currency, network, sum(many) AS many
    FROM (
        SELECT * FROM unnest($12::text::text[], $13::text::text[], $14::text::int[]) AS p (currency, network, many)
        UNION ALL
        SELECT currency, network, 1 FROM named WHERE ends AND network IS NOT NULL
    ) AS wanted
    GROUP BY currency, network
) AS pool
CROSS JOIN LATERAL (
    SELECT * FROM orders o
    WHERE o.currency = pool.currency AND o.network = pool.network AND o.queue_place IS NOT NULL
    ORDER BY o.queue_place LIMIT pool.many
) o
UNION ALL
SELECT 'place', NULL, NULL, NULL, NULL, NULL, NULL, NULL, next_offset, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM partitions WHERE topic = $1 AND partition = $2;

-- apply: move the place from $3 to $4 and the watermark up to $5, and write what the batch changes; false, and nothing is
-- written, where the place is not at $3
SELECT apply_step($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15);

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
