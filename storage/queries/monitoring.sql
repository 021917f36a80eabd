-- pools: of each pool ($1, $2) its wallets by status, how many orders wait, and for how many seconds the first of them;
-- all of it by partial indexes, so that wallets and orders that have ended cost nothing
SELECT pool.currency, pool.network,
       (SELECT count(*) FROM wallets w
        WHERE w.currency = pool.currency AND w.network = pool.network AND w.free_place IS NOT NULL) AS available,
       (SELECT count(*) FROM assignments a
        WHERE a.currency = pool.currency AND a.network = pool.network AND a.released_offset IS NULL) AS occupied,
       (SELECT count(*) FROM wallets w
        WHERE w.currency = pool.currency AND w.network = pool.network AND w.status = 'cooling') AS cooling,
       (SELECT count(*) FROM orders o
        WHERE o.currency = pool.currency AND o.network = pool.network AND o.queue_place IS NOT NULL) AS waiting,
       coalesce((SELECT greatest(0, extract(epoch FROM now() - o.pending_at))
                 FROM orders o
                 WHERE o.currency = pool.currency AND o.network = pool.network AND o.queue_place IS NOT NULL
                 ORDER BY o.queue_place
                 LIMIT 1), 0)::float8 AS oldest_waiting_seconds
FROM unnest($1::text[], $2::text[]) AS pool (currency, network);

-- deliveries: how many deliveries are due or being sent, and how many are held
SELECT state, count(*) AS deliveries FROM deliveries WHERE next_attempt_at IS NOT NULL GROUP BY state
UNION ALL
SELECT state, count(*) FROM deliveries WHERE state = 'held' GROUP BY state;

-- oldest_due: for how many seconds a delivery has been due, or a lease has run out; 0 where there is none
SELECT coalesce(greatest(0, extract(epoch FROM now() - min(next_attempt_at))), 0)::float8
FROM deliveries
WHERE next_attempt_at IS NOT NULL;

-- places: the first record of each partition that is not applied
SELECT topic, partition, next_offset FROM partitions;

-- answer: the database answers
SELECT 1;
