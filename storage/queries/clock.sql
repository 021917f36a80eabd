-- expired: of each currency up to $1 pending orders past their expiry, the oldest expiry first
WITH RECURSIVE currencies (currency) AS (
    (SELECT currency FROM orders ORDER BY currency LIMIT 1)
    UNION ALL
    SELECT (SELECT o.currency FROM orders o WHERE o.currency > c.currency ORDER BY o.currency LIMIT 1)
    FROM currencies c
    WHERE c.currency IS NOT NULL
)
SELECT expired.currency, expired.order_id, expired.expires_at
FROM currencies c
CROSS JOIN LATERAL (
    SELECT o.currency, o.order_id, o.expires_at
    FROM orders o
    WHERE o.pending_until <= now() AND o.currency = c.currency
    ORDER BY o.pending_until
    LIMIT $1
) expired;

-- cooled: of each currency in $2 up to $1 wallets whose cooling may end
SELECT cooled.currency, cooled.network, cooled.address, cooled.cooling_assignment_id, cooled.cooling_until
FROM unnest($2::text[]) c (currency)
CROSS JOIN LATERAL (
    SELECT w.currency, w.network, w.address, w.cooling_assignment_id, w.cooling_until
    FROM wallets w
    WHERE w.status = 'cooling' AND w.cooling_until <= now() AND w.currency = c.currency
    ORDER BY w.cooling_until
    LIMIT $1
) cooled;
