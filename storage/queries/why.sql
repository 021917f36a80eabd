-- What `walletq why` asks about one order. Each statement reads a few rows by index, however many orders there are.

-- order: the order $2 of the currency $1; of the recipient the domain alone
SELECT currency, order_id, status, network, amount, split_part(email, '@', -1) AS domain, locale, expires_at,
       queue_place, address, reason, actor, pending_offset, pending_at, paid_offset, processing_offset, ended_offset,
       ended_at
FROM orders WHERE currency = $1 AND order_id = $2;

-- similar: the orders whose ids are one of $2, in the currencies $1
SELECT currency, order_id, status FROM orders
WHERE currency = ANY ($1::text[]) AND order_id = ANY ($2::text[])
ORDER BY order_id, currency LIMIT 20;

-- assignment: which wallet the order $2 of the currency $1 got
SELECT assignment_id, partition, assigned_offset, released_offset, network, address, waited, assigned_at, released_at
FROM assignments WHERE currency = $1 AND order_id = $2 ORDER BY assigned_offset;

-- served: the order that got a wallet by the event at the offset $2 of the partition $1
SELECT order_id FROM assignments WHERE partition = $1 AND assigned_offset = $2;

-- deliveries: the mails of the order $2 of the currency $1
SELECT notification_id, kind, state, attempts, next_attempt_at, outcome, address, sent_at, created_at, updated_at
FROM deliveries WHERE currency = $1 AND order_id = $2 ORDER BY created_at, notification_id;

-- queue: how many orders wait in the pool ($1, $2), and how many of them before the place $3
SELECT count(*) AS waiting, count(*) FILTER (WHERE queue_place < $3) AS ahead
FROM orders WHERE currency = $1 AND network = $2 AND queue_place IS NOT NULL;

-- next_in_line: the first $4 that wait in the pool ($1, $2) before the place $3
SELECT order_id FROM orders
WHERE currency = $1 AND network = $2 AND queue_place < $3 ORDER BY queue_place LIMIT $4;

-- place: how far the partition $2 of the topic $1 is applied, and in which Kafka
SELECT next_offset, cluster_id, partition_count FROM partitions WHERE topic = $1 AND partition = $2;
