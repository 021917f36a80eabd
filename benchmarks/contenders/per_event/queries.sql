-- first_free_wallet: of a pool; nobody else gets it while this transaction lasts
SELECT address FROM wallets
WHERE currency = $1 AND network = $2 AND free_place IS NOT NULL
ORDER BY free_place LIMIT 1
FOR UPDATE SKIP LOCKED;

-- add_order: a new order, with its wallet or at the tail of its pool's queue; no row where it is known already
INSERT INTO orders (currency, order_id, network, status, amount, email, locale, expires_at, address, queue_place)
VALUES ($1, $2, $3, 'pending', $4, $5, $6, $7, $8, CASE WHEN $8::text IS NULL THEN nextval('places') END)
ON CONFLICT DO NOTHING
RETURNING 1;

-- advance_order: paid or processing; a status never goes back
UPDATE orders SET status = $3
WHERE currency = $1 AND order_id = $2 AND address IS NOT NULL
  AND (status = 'pending' OR status = 'paid' AND $3 = 'processing');

-- end_order: end a live order (a timed out one, $4, only while it is pending), and say which wallet it held
WITH ended AS (
    UPDATE orders SET status = $3, queue_place = NULL
    WHERE currency = $1 AND order_id = $2 AND status IN ('pending', 'paid', 'processing')
      AND (status = 'pending' OR NOT $4)
    RETURNING currency, network, address
)
SELECT network, address, retiring FROM ended LEFT JOIN wallets USING (currency, network, address);

-- remember_ended: an order that ends before it is known; its pending gets nothing when it comes
INSERT INTO orders (currency, order_id, status) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

-- serve_oldest: give a wallet to the order that has waited longest; no row where none waits
UPDATE orders SET address = $3, queue_place = NULL
WHERE (currency, order_id) = (
    SELECT currency, order_id FROM orders
    WHERE currency = $1 AND network = $2 AND queue_place IS NOT NULL
    ORDER BY queue_place LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING order_id, amount, expires_at;

-- hold_wallet: the wallet belongs to the order
UPDATE wallets SET order_id = $4, free_place = NULL WHERE currency = $1 AND network = $2 AND address = $3;

-- free_wallet: the wallet goes to the tail of the free list
UPDATE wallets SET order_id = NULL, free_place = nextval('places')
WHERE currency = $1 AND network = $2 AND address = $3;

-- lay_off_wallet: the order of a wallet that was to retire has ended
UPDATE wallets SET order_id = NULL, retiring = false WHERE currency = $1 AND network = $2 AND address = $3;

-- note_wallet_event: no row where the event has been handled already
INSERT INTO wallet_events (event_id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING 1;

-- add_wallet: a new wallet, a retired one that comes back, or a held one that stays; says whether it can be given away
INSERT INTO wallets (currency, network, address) VALUES ($1, $2, $3)
ON CONFLICT (currency, network, address) DO UPDATE SET retiring = false
RETURNING free_place IS NULL AND order_id IS NULL;

-- retire_wallet: a free wallet leaves at once, a held one when its order ends
UPDATE wallets SET free_place = NULL, retiring = order_id IS NOT NULL
WHERE currency = $1 AND network = $2 AND address = $3;

-- add_to_outbox: a notification, to be published once this transaction is committed
INSERT INTO outbox (key, body) VALUES ($1, $2);

-- outbox_head: the oldest notifications
SELECT id, key, body FROM outbox ORDER BY id LIMIT $1;

-- delete_published: what the broker has acknowledged
DELETE FROM outbox WHERE id = ANY($1::bigint[]);
