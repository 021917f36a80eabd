-- orders_by_id: the orders with this id, in the currencies $1
SELECT currency, order_id, network, amount, status, address, queue_place, reason, expires_at
FROM orders
WHERE currency = ANY ($1::text[]) AND order_id = $2
ORDER BY currency;

-- currencies: those that have orders, whatever the catalogue says
WITH RECURSIVE currencies (currency) AS (
    (SELECT currency FROM orders ORDER BY currency LIMIT 1)
    UNION ALL
    SELECT (SELECT o.currency FROM orders o WHERE o.currency > c.currency ORDER BY o.currency LIMIT 1)
    FROM currencies c
    WHERE c.currency IS NOT NULL
)
SELECT currency FROM currencies WHERE currency IS NOT NULL;

-- place: how far the partition $2 of the topic $1 is applied; no row before its first batch
SELECT next_offset FROM partitions WHERE topic = $1 AND partition = $2;

-- refusal: why the record at this place became a dead letter; no row where it did not
SELECT reason, message FROM dead_letters WHERE topic = $1 AND partition = $2 AND "offset" = $3;

-- wallets: the wallets, by pool, each pool's free list in its order
SELECT currency, network, address, status, order_id, retiring, cooling_until
FROM wallets
WHERE currency = coalesce($1, currency) AND network = coalesce($2, network) AND status = coalesce($3, status)
ORDER BY currency, network, status, free_place, address;

-- pool_wallets: how many wallets of each pool are in which status
SELECT currency, network,
       count(*) FILTER (WHERE status = 'available') AS free,
       count(*) FILTER (WHERE status = 'occupied')  AS occupied,
       count(*) FILTER (WHERE status = 'cooling')   AS cooling,
       count(*) FILTER (WHERE status = 'retired')   AS retired
FROM wallets
GROUP BY currency, network;

-- pool_queues: how many orders of each pool wait, and since when the first of them
SELECT queue.currency, queue.network, queue.waiting, first.pending_at AS oldest_pending_at
FROM (
    SELECT currency, network, count(*) AS waiting, min(queue_place) AS queue_place
    FROM orders
    WHERE queue_place IS NOT NULL
    GROUP BY currency, network
) queue
JOIN orders first USING (currency, network, queue_place);

-- partition_places: every partition's place, and how many of its messages are not acknowledged yet
SELECT topic, partition, partition_count, cluster_id, next_offset, published_offset,
       applied, no_effect, dead_letters, dropped_fields, early_finals,
       CASE WHEN topic = $1 THEN
           (SELECT count(*) FROM assignments a
            WHERE a.partition = p.partition AND a.assigned_offset >= p.published_offset)
         + (SELECT count(*) FROM dead_letters d
            WHERE d.topic = p.topic AND d.partition = p.partition AND d."offset" >= p.published_offset)
       ELSE
           (SELECT count(*) FROM dead_letters d
            WHERE d.topic = p.topic AND d.partition = p.partition AND d.awaits_publishing)
       END AS unpublished
FROM partitions p
ORDER BY topic, partition;

-- delivery_states: how many deliveries are in which state
SELECT state, count(*) AS deliveries FROM deliveries GROUP BY state ORDER BY state;

-- dead_letter_reasons: how many records were refused for which reason
SELECT topic, reason, count(*) AS records FROM dead_letters GROUP BY topic, reason ORDER BY topic, records DESC;

-- now: the database's time, by which ages are told
SELECT now();

-- by_index_only: until the transaction ends, no table is read as a whole that has an index for it
SET LOCAL enable_seqscan = off;

-- pool_paces: what each pool of the topic $1 did lately, which is in the last $2 seconds, but no more than in the last $3
-- assignments of its partition: how many wallets it gave, to how many orders that had waited, how long these had, and how
-- many wallets came back
WITH recent AS MATERIALIZED (
    SELECT p.partition, greatest(now() - make_interval(secs => $2), min(last.assigned_at)) AS since
    FROM partitions p
    CROSS JOIN LATERAL (
        SELECT a.assigned_at FROM assignments a
        WHERE a.partition = p.partition ORDER BY a.assigned_offset DESC LIMIT $3
    ) last
    WHERE p.topic = $1
    GROUP BY p.partition
), given AS (
    SELECT a.currency, a.network, recent.since, count(*) AS assigned, count(*) FILTER (WHERE a.waited) AS waited,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM a.assigned_at - o.pending_at))
               FILTER (WHERE a.waited) AS wait_p50_seconds,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM a.assigned_at - o.pending_at))
               FILTER (WHERE a.waited) AS wait_p95_seconds
    FROM recent
    CROSS JOIN LATERAL (
        SELECT * FROM assignments a
        WHERE a.partition = recent.partition ORDER BY a.assigned_offset DESC LIMIT $3
    ) a
    JOIN orders o ON o.currency = a.currency AND o.order_id = a.order_id
    WHERE a.assigned_at >= recent.since
    GROUP BY a.currency, a.network, recent.since
), back AS (
    SELECT a.currency, a.network, recent.since, count(*) AS released
    FROM recent
    -- + 0: by the time alone, else all of the partition's assignments would be read.
    JOIN assignments a ON a.partition + 0 = recent.partition AND a.released_at >= recent.since
    GROUP BY a.currency, a.network, recent.since
)
SELECT currency, network, extract(epoch FROM now() - since)::float8 AS seconds,
       coalesce(assigned, 0) AS assigned, coalesce(waited, 0) AS waited, coalesce(released, 0) AS released,
       wait_p50_seconds, wait_p95_seconds
FROM given FULL JOIN back USING (currency, network, since);
