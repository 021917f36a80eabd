-- The tables of the consumer with one transaction per event.

CREATE SEQUENCE places;

CREATE TABLE orders (
    currency     text NOT NULL,
    order_id     text NOT NULL,
    status       text NOT NULL,
    network      text,
    amount       text,
    email        text,
    locale       text,
    expires_at   timestamptz,
    queue_place  bigint,                       -- while it waits
    address      text,                         -- the wallet that it holds, or has held
    PRIMARY KEY (currency, order_id),
    CONSTRAINT only_a_pending_order_waits CHECK (queue_place IS NULL OR status = 'pending' AND address IS NULL)
) WITH (fillfactor = 80);

CREATE UNIQUE INDEX waiting_orders ON orders (currency, network, queue_place) WHERE queue_place IS NOT NULL;

-- wallets: free (free_place), held (order_id), or retired (neither).
CREATE TABLE wallets (
    currency    text NOT NULL,
    network     text NOT NULL,
    address     text NOT NULL,
    free_place  bigint,
    order_id    text,
    retiring    boolean NOT NULL DEFAULT false,
    PRIMARY KEY (currency, network, address),
    CONSTRAINT free_wallet_is_not_held CHECK (free_place IS NULL OR order_id IS NULL),
    CONSTRAINT only_a_held_wallet_is_retiring CHECK (order_id IS NOT NULL OR NOT retiring)
) WITH (fillfactor = 70);

CREATE UNIQUE INDEX free_wallets ON wallets (currency, network, free_place) WHERE free_place IS NOT NULL;
CREATE UNIQUE INDEX order_holds_one_wallet ON wallets (currency, order_id) WHERE order_id IS NOT NULL;

-- wallet_events: those that have been handled. Orders need no such table: their status says it.
CREATE TABLE wallet_events (
    event_id  text PRIMARY KEY
);

CREATE TABLE outbox (
    id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key   text NOT NULL,
    body  text NOT NULL
);
