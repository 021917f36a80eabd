-- list: up to $6 deliveries, the newest first, of what is given: ids $1, states $2, order $3, currency $4, made more
-- than $5 seconds ago; of the recipient the domain alone
SELECT d.notification_id, d.kind, d.state, d.currency, d.order_id, split_part(o.email, '@', -1) AS domain, d.attempts,
       d.next_attempt_at, d.outcome, d.created_at, d.updated_at
FROM deliveries d
LEFT JOIN orders o ON o.currency = d.currency AND o.order_id = d.order_id
WHERE ($1::uuid[] IS NULL OR d.notification_id = ANY ($1))
  AND ($2::text[] IS NULL OR d.state = ANY ($2))
  AND ($3::text IS NULL OR d.order_id = $3)
  AND ($4::text IS NULL OR d.currency = $4)
  AND ($5::float8 IS NULL OR d.created_at < now() - make_interval(secs => $5))
ORDER BY d.created_at DESC, d.notification_id
LIMIT $6;

-- show: everything about the delivery $1 but the recipient, of whom it is the domain alone
SELECT d.notification_id, d.kind, d.state, d.currency, d.order_id, split_part(o.email, '@', -1) AS domain, d.attempts,
       d.next_attempt_at, d.outcome, d.address, d.sent_at, d.created_at, d.updated_at, d.partition, d."offset",
       d.traceparent, o.status AS order_status, o.locale, o.expires_at
FROM deliveries d
LEFT JOIN orders o ON o.currency = d.currency AND o.order_id = d.order_id
WHERE d.notification_id = $1;

-- lock: up to $6 deliveries as `list` has them, the oldest first, that no mailer takes on before the end of this
-- transaction; and whether their mails may still go out
SELECT d.notification_id, d.kind, d.state, d.attempts, d.created_at, a.released_offset IS NOT NULL AS is_released,
       CASE d.kind WHEN 'queued' THEN o.queue_place IS NOT NULL
                   ELSE a.assignment_id IS NOT NULL AND a.released_offset IS NULL END AS is_wanted,
       coalesce(o.expires_at > now(), false) AS in_time
FROM deliveries d
LEFT JOIN orders o ON o.currency = d.currency AND o.order_id = d.order_id
LEFT JOIN assignments a ON a.currency = d.currency AND a.order_id = d.order_id AND a.assignment_id = d.notification_id
WHERE ($1::uuid[] IS NULL OR d.notification_id = ANY ($1))
  AND ($2::text[] IS NULL OR d.state = ANY ($2))
  AND ($3::text IS NULL OR d.order_id = $3)
  AND ($4::text IS NULL OR d.currency = $4)
  AND ($5::float8 IS NULL OR d.created_at < now() - make_interval(secs => $5))
ORDER BY d.created_at, d.notification_id
LIMIT $6
FOR UPDATE OF d;

-- retry: these are due at once
UPDATE deliveries
SET state = 'due', next_attempt_at = now(), updated_at = now()
WHERE notification_id = ANY ($1::uuid[]);

-- close: these $1 end in the states $2, because of $3
UPDATE deliveries d
SET state = c.state, next_attempt_at = NULL, outcome = c.outcome, updated_at = now()
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS c (notification_id, state, outcome)
WHERE d.notification_id = c.notification_id;

-- hold: these are kept back, because of $2
UPDATE deliveries
SET state = 'held', next_attempt_at = NULL, outcome = $2, updated_at = now()
WHERE notification_id = ANY ($1::uuid[]);

-- settle: the held mail $1 went out at $2, by default before it was held, with the address that was noted, else that of
-- its assignment; $3 tells who says so, and what was known before stays in the outcome
UPDATE deliveries d
SET state = 'sent', sent_at = coalesce($2, d.updated_at), outcome = $3 || '; was ' || d.outcome, updated_at = now(),
    address = coalesce(d.address, (
        SELECT a.address
        FROM assignments a
        WHERE a.currency = d.currency AND a.order_id = d.order_id AND a.assignment_id = d.notification_id
    ))
WHERE d.notification_id = $1;
