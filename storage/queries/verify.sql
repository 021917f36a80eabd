-- What `walletq verify` looks for. Each check gives an `offender` for what does not hold, in words, at most $1 of them.

-- counts: over how much the checks go
SELECT (SELECT count(*) FROM assignments) AS assignments,
       (SELECT count(*) FROM orders)      AS orders,
       (SELECT count(*) FROM wallets)     AS wallets,
       (SELECT count(*) FROM deliveries)  AS deliveries;

-- overlapping_assignments: a wallet's next assignment began before the one before it ended
SELECT format('%s/%s %s: held from offset %s to %s, and again from %s', currency, network, address,
              assigned_offset, coalesce(released_offset::text, 'now'), next_assigned) AS offender
FROM (
    SELECT *, lead(assigned_offset) OVER (PARTITION BY currency, network, address ORDER BY assigned_offset)
              AS next_assigned
    FROM assignments
) spans
WHERE released_offset IS NULL AND next_assigned IS NOT NULL OR released_offset > next_assigned
LIMIT $1;

-- disagreeing_holders: wallets, orders and open assignments do not all say that this order holds this wallet
SELECT format('%s/%s %s and order %s: only %s know of it', currency, network, address, order_id,
              string_agg(source, ' and ' ORDER BY source)) AS offender
FROM (
    SELECT 'wallets' AS source, currency, network, address, order_id FROM wallets WHERE order_id IS NOT NULL
    UNION ALL
    SELECT 'orders', currency, network, address, order_id FROM orders WHERE address IS NOT NULL
    UNION ALL
    SELECT DISTINCT 'assignments', currency, network, address, order_id FROM assignments WHERE released_offset IS NULL
) holders
GROUP BY currency, network, address, order_id
HAVING count(*) <> 3
LIMIT $1;

-- wallets_of_another_assignment: a wallet says that it is held since another event than its open assignment
SELECT format('%s/%s %s: held since offset %s, its open assignment since %s', currency, network, address,
              w.assigned_offset, a.assigned_offset) AS offender
FROM wallets w
JOIN assignments a USING (currency, network, address)
WHERE a.released_offset IS NULL AND w.status = 'occupied' AND w.assigned_offset IS DISTINCT FROM a.assigned_offset
LIMIT $1;

-- orders_assigned_twice: an order got a second wallet
SELECT format('order %s (%s): %s assignments, at offsets %s', order_id, currency, count(*),
              string_agg(assigned_offset::text, ', ' ORDER BY assigned_offset)) AS offender
FROM assignments
GROUP BY currency, order_id
HAVING count(*) > 1
LIMIT $1;

-- assignments_without_order: an assignment of an order that is not there
SELECT format('order %s (%s): assigned at offset %s, but not known', a.order_id, a.currency, a.assigned_offset)
       AS offender
FROM assignments a
LEFT JOIN orders o USING (currency, order_id)
WHERE o.order_id IS NULL
LIMIT $1;

-- idle_wallets: a pool has a free wallet and a waiting order
SELECT format('%s/%s: %s free wallets and %s waiting orders', currency, network, free.wallets, queue.orders) AS offender
FROM (SELECT currency, network, count(*) AS wallets FROM wallets WHERE status = 'available' GROUP BY 1, 2) free
JOIN (SELECT currency, network, count(*) AS orders FROM orders WHERE queue_place IS NOT NULL GROUP BY 1, 2) queue
    USING (currency, network)
LIMIT $1;

-- overtaken_orders: an order was assigned before one of its pool that came earlier and still waited. An order waits from
-- its pending to its assignment or its end, so of all orders before it the one that waited longest decides.
SELECT format('%s/%s: order %s, which came at offset %s, was assigned at %s, and one that came earlier waited until %s',
              currency, network, order_id, pending_offset, assigned_offset,
              CASE longest_before WHEN 9223372036854775807 THEN 'now' ELSE longest_before::text END) AS offender
FROM (
    SELECT *, max(waited_until) OVER (PARTITION BY currency, network ORDER BY pending_offset
                                      ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS longest_before
    FROM (
        SELECT o.currency, o.network, o.order_id, o.pending_offset, a.assigned_offset,
               coalesce(a.assigned_offset, o.ended_offset, 9223372036854775807) AS waited_until
        FROM orders o
        LEFT JOIN assignments a USING (currency, network, order_id)
        WHERE o.pending_offset IS NOT NULL
    ) waits
) places
WHERE longest_before > assigned_offset
LIMIT $1;

-- wrongly_waited: the assignment says that the order waited, and it did not; or the other way round
SELECT format('order %s (%s): came at offset %s, assigned at %s, waited: %s', o.order_id, o.currency,
              o.pending_offset, a.assigned_offset, a.waited) AS offender
FROM assignments a
JOIN orders o USING (currency, order_id)
WHERE a.waited IS DISTINCT FROM (a.assigned_offset > o.pending_offset)
LIMIT $1;

-- miscounted_dead_letters: a partition of the topic $2 has counted another number of dead letters than there are
SELECT format('%s/%s: counted %s, kept %s', $2::text, partition, coalesce(p.dead_letters, 0), coalesce(kept.records, 0))
       AS offender
FROM (SELECT * FROM partitions WHERE topic = $2) p
FULL JOIN (SELECT partition, count(*) AS records FROM dead_letters WHERE topic = $2 GROUP BY partition) kept
    USING (partition)
WHERE p.dead_letters IS DISTINCT FROM coalesce(kept.records, 0)
LIMIT $1;

-- deliveries_without_next_attempt: a delivery that has neither ended nor is to be tried again within a day; leases and
-- backoffs take minutes
SELECT format('notification %s (order %s, %s): %s, and no next attempt soon', notification_id, order_id, currency, state)
       AS offender
FROM deliveries
WHERE state IN ('due', 'sending') AND (next_attempt_at IS NULL OR next_attempt_at > now() + interval '1 day')
LIMIT $1;

-- deliveries_ahead: a delivery of a record that nobody has come to, by the place on its topic: notifications ($2), or
-- orders ($3) for the mails of those that wait
SELECT format('notification %s (order %s, %s): at %s/%s, the place is %s', d.notification_id, d.order_id, d.currency,
              d.partition, d."offset", coalesce(p.next_offset, 0)) AS offender
FROM deliveries d
LEFT JOIN partitions p ON p.topic = CASE d.kind WHEN 'queued' THEN $3 ELSE $2 END AND p.partition = d.partition
WHERE d."offset" >= coalesce(p.next_offset, 0)
LIMIT $1;

-- overdue_deliveries: mails that nobody sends, though their time, or the lease of whoever had them, is over for a minute
SELECT count(*) AS deliveries, min(next_attempt_at) AS since
FROM deliveries
WHERE next_attempt_at < now() - interval '1 minute';

-- wrongly_ended: a delivery is superseded though its order still holds the wallet, or still waits for one; or expired
-- long before its order: the last attempt may be given up a backoff (5 minutes at most) before the expiry
SELECT format('notification %s (order %s, %s): %s at %s', d.notification_id, d.order_id, d.currency, d.state,
              d.updated_at) AS offender
FROM deliveries d
JOIN orders o ON o.currency = d.currency AND o.order_id = d.order_id
LEFT JOIN assignments a ON a.currency = d.currency AND a.order_id = d.order_id AND a.assignment_id = d.notification_id
WHERE d.state = 'superseded'
      AND CASE d.kind WHEN 'queued' THEN o.queue_place IS NOT NULL
                      ELSE a.assignment_id IS NOT NULL AND a.released_offset IS NULL END
   OR d.state = 'expired' AND d.updated_at < o.expires_at - interval '6 minutes'
LIMIT $1;

-- queued_mails_of_no_order: the mail of an order that waits is of no order that came at its place
SELECT format('notification %s (order %s, %s): no such order came at %s/%s', d.notification_id, d.order_id, d.currency,
              d.partition, d."offset") AS offender
FROM deliveries d
LEFT JOIN orders o ON o.currency = d.currency AND o.order_id = d.order_id
WHERE d.kind = 'queued' AND o.pending_offset IS DISTINCT FROM d."offset"
LIMIT $1;

-- wrong_addresses: a mail showed another address than that of its assignment
SELECT format('order %s (%s): the mail showed %s, assigned was %s', d.order_id, d.currency, d.address,
              coalesce(a.address, 'nothing')) AS offender
FROM deliveries d
LEFT JOIN assignments a ON a.currency = d.currency AND a.order_id = d.order_id AND a.assignment_id = d.notification_id
WHERE d.address IS NOT NULL AND d.address IS DISTINCT FROM a.address
LIMIT $1;

-- late_mails: a mail was accepted when the cool-down after the release was over; by the catalogue that applied on topic $2
SELECT format('order %s (%s): released at %s, cool-down %s minutes, accepted at %s', a.order_id, a.currency,
              a.released_at, applied.cool_down, d.sent_at) AS offender
FROM deliveries d
JOIN assignments a ON a.currency = d.currency AND a.order_id = d.order_id AND a.assignment_id = d.notification_id
CROSS JOIN LATERAL (
    SELECT (c.content::jsonb #>> ARRAY['currencies', a.currency, 'cool_down_minutes'])::int AS cool_down
    FROM catalogues c
    WHERE c.topic = $2 AND c.partition = a.partition AND c.from_offset <= a.released_offset
    ORDER BY c.from_offset DESC
    LIMIT 1
) applied
WHERE d.sent_at > a.released_at AND applied.cool_down > 0
  AND d.sent_at >= a.released_at + make_interval(mins => applied.cool_down)
LIMIT $1;

-- assignments_of: what the notifications of the orders ($1, $2) should say
SELECT a.assignment_id, a.partition, a.assigned_offset, a.order_id, a.currency, a.network, a.address, a.waited,
       a.assigned_at, o.amount, o.expires_at
FROM unnest($1::text[], $2::text[]) AS said (currency, order_id)
JOIN assignments a USING (currency, order_id)
JOIN orders o USING (currency, order_id);

-- published_assignments: every assignment below the watermark of its partition on the topic $1
SELECT a.partition, a.assigned_offset, a.assignment_id, a.order_id, a.currency, a.assigned_at
FROM assignments a
JOIN partitions p ON p.topic = $1 AND p.partition = a.partition
WHERE a.assigned_offset < p.published_offset
ORDER BY a.partition, a.assigned_offset;

-- delivered: which of these notifications have a delivery
SELECT notification_id FROM deliveries WHERE notification_id = ANY ($1::uuid[]);

-- dead_letters_at: the dead letters that came from these places
SELECT d.topic, d.partition, d."offset", d.reason, d.message, d.key, d.value, d.value_length, d.value_sha256
FROM unnest($1::text[], $2::int[], $3::bigint[]) place (topic, partition, "offset")
JOIN dead_letters d USING (topic, partition, "offset");

-- published_dead_letters: every dead letter of the topic $1 that must be on its dead letter topic: below the
-- watermark where there is one ($2), otherwise marked as published
SELECT d.partition, d."offset", d.reason, d.record_at
FROM dead_letters d
JOIN partitions p USING (topic, partition)
WHERE d.topic = $1 AND CASE WHEN $2::boolean THEN d."offset" < p.published_offset ELSE NOT d.awaits_publishing END
ORDER BY d.partition, d."offset";
