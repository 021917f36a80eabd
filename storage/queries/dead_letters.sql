-- What `walletq dead-letters` reads and writes.

-- find: the places of up to $10 dead letters of what is given: topic $1, partition $2, offset $3, reasons $4, order $5,
-- currency $6, refused more than $7 and less than $8 seconds ago, replayed or not $9; and how many there are without the
-- limit. In the order of the log, by offset within a partition, else by time; or with $11 the newest first
SELECT d.topic, d.partition, d."offset", count(*) OVER () AS matches
FROM dead_letters d
WHERE ($1::text IS NULL OR d.topic = $1)
  AND ($2::int IS NULL OR d.partition = $2)
  AND ($3::bigint IS NULL OR d."offset" = $3)
  AND ($4::text[] IS NULL OR d.reason = ANY ($4))
  AND ($5::text IS NULL OR field_of(d.value, 'order_id') = $5)
  AND ($6::text IS NULL OR field_of(d.value, 'currency') = $6)
  AND ($7::float8 IS NULL OR d.record_at < now() - make_interval(secs => $7))
  AND ($8::float8 IS NULL OR d.record_at > now() - make_interval(secs => $8))
  AND ($9::boolean IS NULL OR $9 = EXISTS (
      SELECT FROM dead_letter_replays r
      WHERE r.topic = d.topic AND r.partition = d.partition AND r."offset" = d."offset"
        AND r.published_offset IS NOT NULL
  ))
ORDER BY CASE WHEN NOT $11 THEN max(d.record_at) OVER (PARTITION BY d.topic, d.partition ORDER BY d."offset") END,
         CASE WHEN $11 THEN d.record_at END DESC,
         d.topic, d.partition, CASE WHEN $11 THEN -d."offset" ELSE d."offset" END
LIMIT $10;

-- rows: what a list says of the dead letters at these places (topics, partitions, offsets), in their order
SELECT d.topic, d.partition, d."offset", d.reason, d.message, d.record_at, d.value_length,
       coalesce(field_of(d.value, 'status'), field_of(d.value, 'type')) AS event,
       field_of(d.value, 'currency') AS currency, field_of(d.value, 'order_id') AS order_id,
       (SELECT count(*) FROM dead_letter_replays r
        WHERE r.topic = d.topic AND r.partition = d.partition AND r."offset" = d."offset"
          AND r.published_offset IS NOT NULL) AS replays
FROM unnest($1::text[], $2::int[], $3::bigint[]) WITH ORDINALITY AS place (topic, partition, "offset", number)
JOIN dead_letters d USING (topic, partition, "offset")
ORDER BY place.number;

-- at: the dead letters at these places (topics, partitions, offsets) with their bytes, in the order of the log
SELECT d.topic, d.partition, d."offset", d.reason, d.message, d.record_at, d.key, d.value, d.value_length,
       d.value_sha256, d.traceparent
FROM unnest($1::text[], $2::int[], $3::bigint[]) AS place (topic, partition, "offset")
JOIN dead_letters d USING (topic, partition, "offset")
ORDER BY max(d.record_at) OVER (PARTITION BY d.topic, d.partition ORDER BY d."offset"), d.topic, d.partition, d."offset";

-- replays: what was replayed of these dead letters, or begun; and what became of it: the reason of a dead letter again,
-- whether the allocator has come so far
SELECT r.event_id, r.topic, r.partition, r."offset", r.actor, r.edits, r.target_partition, r.log_end, r.begun_at,
       r.published_offset, r.published_at, again.reason AS refused_again,
       coalesce(p.next_offset > r.published_offset, false) AS is_taken
FROM unnest($1::text[], $2::int[], $3::bigint[]) AS place (topic, partition, "offset")
JOIN dead_letter_replays r USING (topic, partition, "offset")
LEFT JOIN dead_letters again
    ON again.topic = r.topic AND again.partition = r.target_partition AND again."offset" = r.published_offset
LEFT JOIN partitions p ON p.topic = r.topic AND p.partition = r.target_partition
ORDER BY r.begun_at, r.event_id;

-- hold_replaying: be the only one who replays, until this session ends; false where another session is
SELECT pg_try_advisory_lock(hashtextextended('walletq dead-letters replay', 0));

-- begin_replay: the event $1 is about to go out; one that was begun before stays as it is
INSERT INTO dead_letter_replays (event_id, topic, partition, "offset", actor, edits, target_partition, log_end)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (event_id) DO NOTHING;

-- note_replayed: the event $1 is at the offset $2
UPDATE dead_letter_replays SET published_offset = $2, published_at = now()
WHERE event_id = $1 AND published_offset IS NULL;

-- partition_counts: how many partitions the topic $1 had at first; no row before the first batch
SELECT max(partition_count) FROM partitions WHERE topic = $1;

-- waiting: how many orders wait in each of these pools
SELECT pool.currency, pool.network, count(o.queue_place) AS waiting
FROM unnest($1::text[], $2::text[]) AS pool (currency, network)
LEFT JOIN orders o ON o.currency = pool.currency AND o.network = pool.network AND o.queue_place IS NOT NULL
GROUP BY pool.currency, pool.network;

-- other_catalogue: whether another catalogue than $3 decided last in the partition $2 of the topic $1
SELECT sha256 <> $3 FROM catalogues WHERE topic = $1 AND partition = $2 ORDER BY from_offset DESC LIMIT 1;
