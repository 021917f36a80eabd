-- What `walletq replay` reads of the database. Rows come in the order of their keys' bytes, as the replayed ones do.

-- places: the partitions of the topic $1
SELECT partition, partition_count, cluster_id, next_offset, published_offset,
       applied, no_effect, dead_letters, dropped_fields, early_finals
FROM partitions WHERE topic = $1 ORDER BY partition;

-- catalogues: from which offset of a partition of the topic $1 which catalogue decided
SELECT partition, from_offset, sha256, content FROM catalogues WHERE topic = $1 ORDER BY partition, from_offset;

-- refused: the records of the topic $1 that the database did not take
SELECT partition, "offset", message FROM dead_letters WHERE topic = $1 AND reason = 'storage_refused'
ORDER BY partition, "offset";

-- orders: all of them
SELECT currency, order_id, status, network, amount, expires_at, traceparent, queue_place, address, email, locale,
       reason, actor, pending_offset, pending_at, paid_offset, processing_offset, ended_offset, ended_at
FROM orders ORDER BY currency COLLATE "C", order_id COLLATE "C";

-- wallets: all of them
SELECT currency, network, address, status, free_place, order_id, assigned_offset, retiring,
       cooling_assignment_id::text, cooling_until, added_offset, retired_offset
FROM wallets ORDER BY currency COLLATE "C", network COLLATE "C", address COLLATE "C";

-- assignments: all of them
SELECT partition, assigned_offset, assignment_id::text, released_offset, currency, network, address, order_id, waited,
       assigned_at, released_at
FROM assignments ORDER BY partition, assigned_offset;

-- dead_letters: those of the topic $1, their bytes by their digests
SELECT partition, "offset", reason, message, record_at, encode(sha256(key), 'hex'), encode(sha256(value), 'hex'),
       value_length, value_sha256, traceparent
FROM dead_letters WHERE topic = $1 ORDER BY partition, "offset";

-- dead_letter_reasons: how many records of each partition of the topic $1 were refused for which reason
SELECT partition, reason, count(*) FROM dead_letters WHERE topic = $1 GROUP BY partition, reason;

-- rows_of_the_pipeline: how many rows there are of each table that the pipeline fills
SELECT 'partitions' AS table, count(*) AS rows FROM partitions
UNION ALL SELECT 'catalogues', count(*) FROM catalogues
UNION ALL SELECT 'orders', count(*) FROM orders
UNION ALL SELECT 'wallets', count(*) FROM wallets
UNION ALL SELECT 'assignments', count(*) FROM assignments
UNION ALL SELECT 'dead_letters', count(*) FROM dead_letters
UNION ALL SELECT 'deliveries', count(*) FROM deliveries;

-- assigned_offsets: the events of the partition $1 that made an assignment
SELECT assigned_offset FROM assignments WHERE partition = $1 ORDER BY assigned_offset;

-- refused_offsets: the records of the partition $2 of the topic $1 that are dead letters
SELECT "offset" FROM dead_letters WHERE topic = $1 AND partition = $2 ORDER BY "offset";
