-- read_places: where partitions $2 of topic $1 go on; no row for one that was never seen
SELECT partition, next_offset, partition_count, cluster_id
FROM partitions
WHERE topic = $1 AND partition = ANY ($2::int[]);

-- create_places: a place at offset 0 for partitions $2 at their first sight; those that have one keep it
INSERT INTO partitions (topic, partition, partition_count, cluster_id)
SELECT $1, partition, $3, $4
FROM unnest($2::int[]) AS partition
ON CONFLICT DO NOTHING;

-- advance: the fence: move each partition's place from its start to its end; a row that is missing in the answer
-- means that another mailer owns that partition now
UPDATE partitions
SET next_offset = batch.end_offset,
    applied = partitions.applied + batch.applied,
    no_effect = partitions.no_effect + batch.no_effect,
    dead_letters = partitions.dead_letters + batch.dead_letters
FROM unnest($2::int[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
    AS batch (partition, start_offset, end_offset, applied, no_effect, dead_letters)
WHERE partitions.topic = $1
  AND partitions.partition = batch.partition
  AND partitions.next_offset = batch.start_offset
RETURNING partitions.partition;

-- gather: of the notifications $1 of the orders ($2, $3), those whose assignment exists, and whether their delivery does
SELECT assignments.assignment_id AS notification_id,
       assignments.currency,
       assignments.order_id,
       deliveries.notification_id IS NOT NULL AS has_delivery
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS said (notification_id, currency, order_id)
JOIN assignments ON assignments.currency = said.currency
                AND assignments.order_id = said.order_id
                AND assignments.assignment_id = said.notification_id
LEFT JOIN deliveries ON deliveries.notification_id = assignments.assignment_id;

-- add_deliveries: a delivery for each notification, due at once; one that exists stays as it is
INSERT INTO deliveries (notification_id, partition, "offset", currency, order_id, traceparent)
SELECT *
FROM unnest($1::uuid[], $2::int[], $3::bigint[], $4::text[], $5::text[], $6::text[])
ON CONFLICT DO NOTHING;

-- waiting: of the pools ($1, $2) up to $4 orders that have waited for $3 seconds and have no delivery of kind queued,
-- of each currency the first in its log: what comes after the last that has one
SELECT currency, order_id, queue_place, traceparent
FROM (
    SELECT waiting.*,
           bool_and(pending_at <= now() - make_interval(secs => $3)) OVER in_order AS long_enough,
           row_number() OVER in_order AS nth
    FROM unnest($1::text[], $2::text[]) AS pool (currency, network)
    CROSS JOIN LATERAL (
        SELECT coalesce(max(deliveries."offset"), -1) AS place
        FROM deliveries
        WHERE deliveries.kind = 'queued' AND deliveries.currency = pool.currency
    ) AS last
    CROSS JOIN LATERAL (
        SELECT orders.currency, orders.order_id, orders.queue_place, orders.pending_at, orders.traceparent
        FROM orders
        WHERE orders.currency = pool.currency AND orders.network = pool.network AND orders.queue_place > last.place
        ORDER BY orders.queue_place
        LIMIT $4
    ) AS waiting
    WINDOW in_order AS (PARTITION BY waiting.currency ORDER BY waiting.queue_place)
) AS candidates
WHERE long_enough
ORDER BY nth
LIMIT $4;

-- queued_in_hand: how many deliveries of kind queued have not ended
SELECT count(*) FROM deliveries WHERE kind = 'queued' AND next_attempt_at IS NOT NULL;

-- add_queued: a delivery of kind queued for each of these orders, due at once; one that exists stays as it is
INSERT INTO deliveries (kind, notification_id, partition, "offset", currency, order_id, traceparent)
SELECT 'queued', queued.*
FROM unnest($1::uuid[], $2::int[], $3::bigint[], $4::text[], $5::text[], $6::text[]) AS queued
ON CONFLICT DO NOTHING;

-- waiting_between: how many orders of each pool ($1, $2) wait from the place $3 on and before the place $4, in order
SELECT (
    SELECT count(*)
    FROM orders
    WHERE orders.currency = span.currency
      AND orders.network = span.network
      AND orders.queue_place >= span.start
      AND orders.queue_place < span.stop
) AS orders
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])
    WITH ORDINALITY AS span (currency, network, start, stop, nth)
ORDER BY span.nth;

-- add_dead_letters: records of topic $1 that were refused; they wait to be published
INSERT INTO dead_letters (topic, partition, "offset", reason, message, record_at, key, value,
                          value_length, value_sha256, traceparent, awaits_publishing)
SELECT $1, refused.*, true
FROM unnest($2::int[], $3::bigint[], $4::text[], $5::text[], $6::timestamptz[], $7::bytea[], $8::bytea[],
            $9::bigint[], $10::text[], $11::text[]) AS refused
ON CONFLICT DO NOTHING;

-- dead_letters_to_publish: the first $2 dead letters of topic $1 that nobody has published yet
SELECT partition, "offset", reason, message, record_at, key, value, value_length, value_sha256, traceparent
FROM dead_letters
WHERE topic = $1 AND awaits_publishing
ORDER BY topic, partition, "offset"
LIMIT $2;

-- dead_letters_published: these are acknowledged by the broker
UPDATE dead_letters
SET awaits_publishing = false
FROM unnest($2::int[], $3::bigint[]) AS published (partition, published_offset)
WHERE dead_letters.topic = $1
  AND dead_letters.partition = published.partition
  AND dead_letters."offset" = published.published_offset;

-- claim: up to $1 deliveries that are due, or whose lease has run out, for $3 seconds under the lease $2, those with an
-- address first, and what their mails are to say; never one that another mailer claims at the same time; an interrupted
-- attempt counts
WITH assigned AS (
    SELECT notification_id, state = 'sending' AS interrupted
    FROM deliveries
    WHERE next_attempt_at <= now() AND kind <> 'queued'  -- not = 'assigned': without statistics that counts as rare
    ORDER BY next_attempt_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
), queued AS (
    SELECT notification_id, state = 'sending' AS interrupted
    FROM deliveries
    WHERE next_attempt_at <= now() AND kind = 'queued'
    ORDER BY next_attempt_at
    LIMIT $1 - (SELECT count(*) FROM assigned)
    FOR UPDATE SKIP LOCKED
), due AS (
    SELECT * FROM assigned
    UNION ALL
    SELECT * FROM queued
), claimed AS (
    UPDATE deliveries
    SET state = 'sending',
        lease_holder = $2,
        next_attempt_at = now() + make_interval(secs => $3),
        attempts = deliveries.attempts + due.interrupted::int,
        updated_at = now()
    FROM due
    WHERE deliveries.notification_id = due.notification_id
    RETURNING deliveries.*, due.interrupted
)
SELECT claimed.notification_id, claimed.kind, claimed.partition, claimed."offset", claimed.currency,
       claimed.order_id, claimed.traceparent, claimed.attempts, claimed.interrupted,
       coalesce(assignments.network, orders.network) AS network,
       assignments.address, assignments.waited, assignments.assigned_at,
       assignments.released_offset IS NOT NULL AS released,
       orders.queue_place, orders.email, orders.locale, orders.amount, orders.expires_at,
       now() AS read_at
FROM claimed
LEFT JOIN assignments ON assignments.currency = claimed.currency
                     AND assignments.order_id = claimed.order_id
                     AND assignments.assignment_id = claimed.notification_id
LEFT JOIN orders ON orders.currency = claimed.currency AND orders.order_id = claimed.order_id;

-- look: the same again of one delivery $1, where the lease $2 still holds
SELECT deliveries.notification_id, deliveries.kind, deliveries.partition, deliveries."offset", deliveries.currency,
       deliveries.order_id, deliveries.traceparent, deliveries.attempts,
       coalesce(assignments.network, orders.network) AS network,
       assignments.address, assignments.waited, assignments.assigned_at,
       assignments.released_offset IS NOT NULL AS released,
       orders.queue_place, orders.email, orders.locale, orders.amount, orders.expires_at,
       now() AS read_at
FROM deliveries
LEFT JOIN assignments ON assignments.currency = deliveries.currency
                     AND assignments.order_id = deliveries.order_id
                     AND assignments.assignment_id = deliveries.notification_id
LEFT JOIN orders ON orders.currency = deliveries.currency AND orders.order_id = deliveries.order_id
WHERE deliveries.notification_id = $1
  AND deliveries.lease_holder = $2;

-- settle: end these attempts, each where its lease still holds; the answer names those where it did
UPDATE deliveries
SET state = ended.state,
    outcome = coalesce(ended.outcome, deliveries.outcome),
    attempts = deliveries.attempts + ended.counted::int,
    next_attempt_at = CASE WHEN ended.state = 'due' THEN now() + make_interval(secs => ended.delay) END,
    lease_holder = NULL,
    address = coalesce(ended.address, deliveries.address),
    sent_at = CASE WHEN ended.state = 'sent' THEN now() END,
    updated_at = now()
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bool[], $6::float8[], $7::text[])
    AS ended (notification_id, lease_holder, state, outcome, counted, delay, address)
WHERE deliveries.notification_id = ended.notification_id
  AND deliveries.lease_holder = ended.lease_holder
RETURNING deliveries.notification_id;

-- hasten: up to $1 deliveries that met silence are due now: no answer of the server, which would begin with its code;
-- never one that another mailer has in hand
WITH silent AS (
    SELECT notification_id
    FROM deliveries
    WHERE next_attempt_at > now() AND state = 'due' AND outcome ~ '^transient: [A-Z]+: [^0-9]'
    ORDER BY next_attempt_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)
UPDATE deliveries
SET next_attempt_at = now(), updated_at = now()
FROM silent
WHERE deliveries.notification_id = silent.notification_id;

-- next_due: seconds until the next delivery is due or a lease runs out; NULL where there is none
SELECT extract(epoch FROM min(next_attempt_at) - now())::float8
FROM deliveries
WHERE next_attempt_at IS NOT NULL;
