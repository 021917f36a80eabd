-- What `walletq demo` shows while it runs, and what it says at the end.

-- pools: of every pool its wallets by status, its queue, and how many wallets it has given
SELECT currency, network,
       coalesce(free, 0)     AS free,
       coalesce(occupied, 0) AS occupied,
       coalesce(waiting, 0)  AS waiting,
       coalesce(assigned, 0) AS assigned
FROM (
    SELECT currency, network,
           count(*) FILTER (WHERE status = 'available') AS free,
           count(*) FILTER (WHERE status = 'occupied')  AS occupied
    FROM wallets
    GROUP BY currency, network
) held
FULL JOIN (
    SELECT currency, network, count(*) AS waiting FROM orders WHERE queue_place IS NOT NULL GROUP BY currency, network
) queues USING (currency, network)
FULL JOIN (
    SELECT currency, network, count(*) AS assigned FROM assignments GROUP BY currency, network
) given USING (currency, network);

-- totals: how many there are of everything
SELECT (SELECT count(*) FROM orders)                                AS orders,
       (SELECT count(*) FROM orders WHERE ended_offset IS NOT NULL) AS ended,
       (SELECT count(*) FROM assignments)                           AS assigned,
       (SELECT count(*) FROM deliveries WHERE state = 'sent')       AS mails,
       (SELECT count(*) FROM dead_letters)                          AS dead_letters;

-- happenings: the last $1: assignments and whose wallet it was before, expired orders, refused records; newest first
SELECT 'assigned' AS kind, a.assigned_at AS at, a.currency, a.network, a.order_id, a.address, a.waited,
       extract(epoch FROM a.assigned_at - o.pending_at)::float8 AS waited_seconds,
       before.order_id AS released_by, NULL AS reason
FROM assignments a
JOIN orders o USING (currency, order_id)
LEFT JOIN assignments before ON before.partition = a.partition AND before.released_offset = a.assigned_offset
UNION ALL
SELECT 'expired', ended_at, currency, network, order_id, NULL, NULL, NULL, NULL, reason
FROM orders
WHERE reason = 'payment_timeout'
UNION ALL
SELECT 'refused', record_at, NULL, NULL, topic || '/' || partition || '/' || "offset", NULL, NULL, NULL, NULL, reason
FROM dead_letters
ORDER BY at DESC, order_id DESC
LIMIT $1;

-- told_holders: the orders that hold a wallet and whose mail has left the mailer, the oldest first
SELECT o.currency, o.order_id
FROM orders o
JOIN deliveries d USING (currency, order_id)
WHERE o.address IS NOT NULL AND d.next_attempt_at IS NULL
ORDER BY o.pending_at, o.order_id;

-- waiting_orders: the orders in the queues, the oldest first
SELECT currency, order_id FROM orders WHERE queue_place IS NOT NULL ORDER BY pending_at, order_id;

-- served_customer: of those in English who waited and got their mail, the one who waited longest
SELECT o.order_id, o.email
FROM assignments a
JOIN orders o USING (currency, order_id)
JOIN deliveries d ON d.notification_id = a.assignment_id
WHERE a.waited AND d.state = 'sent' AND o.locale = 'en'
ORDER BY a.assigned_at - o.pending_at DESC, o.order_id
LIMIT 1;

-- story: what has become of the orders, and how long everything took. An assignment of an order that waited has the
-- time of the release that made it, so what passed since then is the time from the release.
SELECT count(*)                                                                  AS orders,
       count(*) FILTER (WHERE a.assigned_offset = o.pending_offset)              AS at_once,
       count(*) FILTER (WHERE a.waited)                                          AS served,
       count(*) FILTER (WHERE a.assignment_id IS NULL)                           AS gave_up,
       count(*) FILTER (WHERE o.status = 'completed')                            AS completed,
       count(*) FILTER (WHERE o.status = 'cancelled')                            AS cancelled,
       count(*) FILTER (WHERE o.status = 'failed')                               AS failed,
       count(*) FILTER (WHERE o.reason = 'payment_timeout')                      AS expired,
       count(*) FILTER (WHERE d.state = 'sent')                                  AS mails,
       coalesce(max(extract(epoch FROM a.assigned_at - o.pending_at)), 0)::float8 AS longest_wait_seconds,
       coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM d.created_at - a.assigned_at))
                FILTER (WHERE a.waited), 0)::float8                              AS notified_seconds,
       coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM d.sent_at - a.assigned_at))
                FILTER (WHERE a.waited), 0)::float8                              AS mailed_seconds
FROM orders o
LEFT JOIN assignments a USING (currency, order_id)
LEFT JOIN deliveries d ON d.notification_id = a.assignment_id;

-- longest_queue: the pool whose queue was the longest at any offset, and how long it was
SELECT currency, network, waiting
FROM (
    SELECT currency, network, sum(step) OVER (PARTITION BY currency, network ORDER BY place)::int AS waiting
    FROM (
        SELECT o.currency, o.network, spans.place, spans.step
        FROM orders o
        LEFT JOIN assignments a USING (currency, order_id)
        CROSS JOIN LATERAL (
            VALUES (o.pending_offset, 1), (coalesce(a.assigned_offset, o.ended_offset), -1)
        ) spans (place, step)
        WHERE o.pending_offset IS NOT NULL AND a.assigned_offset IS DISTINCT FROM o.pending_offset
          AND spans.place IS NOT NULL
    ) steps
) lengths
ORDER BY waiting DESC, currency, network
LIMIT 1;
