-- The state of the pipeline: what the log says, up to partitions.next_offset.
-- A currency lives in one partition, so an offset orders everything within it, and no row is shared between partitions.

-- partitions: one row for each consumed partition: its owner's place, and the outbox's watermark.
CREATE TABLE partitions (
    topic             text   NOT NULL,
    partition         int    NOT NULL,
    partition_count   int    NOT NULL,             -- how many partitions the topic had at first; it must not change
    cluster_id        text   NOT NULL,             -- which Kafka the offsets belong to
    next_offset       bigint NOT NULL DEFAULT 0,   -- the first record that is not yet applied: the fence
    published_offset  bigint NOT NULL DEFAULT 0,   -- below it every notification and dead letter is acknowledged
    applied           bigint NOT NULL DEFAULT 0,   -- records that changed something
    no_effect         bigint NOT NULL DEFAULT 0,   -- records that the rules let pass without a change
    dead_letters      bigint NOT NULL DEFAULT 0,   -- records that were refused
    dropped_fields    bigint NOT NULL DEFAULT 0,   -- invalid fields left out of final statuses
    early_finals      bigint NOT NULL DEFAULT 0,   -- final statuses of orders that were not known yet
    PRIMARY KEY (topic, partition),
    CONSTRAINT partition_is_one_of_the_topic CHECK (partition >= 0 AND partition < partition_count),
    CONSTRAINT offsets_are_not_negative CHECK (next_offset >= 0 AND published_offset >= 0),
    CONSTRAINT nothing_is_published_before_it_is_applied CHECK (published_offset <= next_offset)
) WITH (fillfactor = 50);

-- catalogues: from which offset of a partition which catalogue decided.
CREATE TABLE catalogues (
    topic        text   NOT NULL,
    partition    int    NOT NULL,
    from_offset  bigint NOT NULL,
    sha256       text   NOT NULL,
    content      text   NOT NULL,
    PRIMARY KEY (topic, partition, from_offset)
);

-- orders: an order is (currency, order_id); it waits (queue_place), holds a wallet (address) or has ended.
CREATE TABLE orders (
    currency           text NOT NULL,
    order_id           text NOT NULL,
    status             text NOT NULL,
    network            text,
    amount             text,                       -- a decimal, as the event wrote it
    email              text,
    locale             text,
    expires_at         timestamptz,
    traceparent        text,                       -- W3C trace context of the pending event
    queue_place        bigint,                     -- the pending's offset while the order waits
    address            text,                       -- the wallet while it is held
    reason             text,
    actor              text,
    pending_offset     bigint,
    pending_at         timestamptz,
    paid_offset        bigint,
    processing_offset  bigint,
    ended_offset       bigint,
    ended_at           timestamptz,
    PRIMARY KEY (currency, order_id),
    CONSTRAINT status_is_known CHECK (status IN ('pending', 'paid', 'processing', 'completed', 'cancelled', 'failed')),
    CONSTRAINT pending_order_waits_or_holds_a_wallet
        CHECK (status <> 'pending' OR (queue_place IS NULL) <> (address IS NULL)),
    CONSTRAINT paid_order_holds_a_wallet
        CHECK (status NOT IN ('paid', 'processing') OR (address IS NOT NULL AND queue_place IS NULL)),
    CONSTRAINT ended_order_neither_waits_nor_holds
        CHECK (status NOT IN ('completed', 'cancelled', 'failed')
               OR (queue_place IS NULL AND address IS NULL AND ended_offset IS NOT NULL AND ended_at IS NOT NULL)),
    CONSTRAINT live_order_is_whole
        CHECK (status IN ('completed', 'cancelled', 'failed')
               OR (network IS NOT NULL AND amount IS NOT NULL AND email IS NOT NULL AND locale IS NOT NULL
                   AND expires_at IS NOT NULL AND pending_offset IS NOT NULL AND pending_at IS NOT NULL
                   AND ended_offset IS NULL)),
    CONSTRAINT queue_place_is_where_the_order_came CHECK (queue_place = pending_offset)
) WITH (fillfactor = 80);

CREATE UNIQUE INDEX queue_place_is_unique ON orders (currency, network, queue_place) WHERE queue_place IS NOT NULL;
CREATE INDEX orders_pending_by_expiry ON orders (expires_at) WHERE status = 'pending';

-- wallets: a wallet is (currency, network, address), the address in its normalised form.
CREATE TABLE wallets (
    currency              text    NOT NULL,
    network               text    NOT NULL,
    address               text    NOT NULL,
    status                text    NOT NULL,
    free_place            bigint,                  -- the offset that freed it: the free list is in this order
    order_id              text,                    -- the order that holds it
    assigned_offset       bigint,                  -- the event since which it is held: names the open assignment
    retiring              boolean NOT NULL DEFAULT false,  -- occupied, and leaves when its order ends
    cooling_assignment_id uuid,                    -- the assignment whose release began the cooling
    cooling_until         timestamptz,             -- when the clock may end the cooling
    added_offset          bigint  NOT NULL,        -- the last event that added it or brought it back
    retired_offset        bigint,                  -- the last event that retired it
    PRIMARY KEY (currency, network, address),
    CONSTRAINT wallet_status_is_known CHECK (status IN ('available', 'occupied', 'cooling', 'retired')),
    CONSTRAINT available_wallet_has_a_place CHECK ((status = 'available') = (free_place IS NOT NULL)),
    CONSTRAINT occupied_wallet_has_an_order
        CHECK ((status = 'occupied') = (order_id IS NOT NULL) AND (status = 'occupied') = (assigned_offset IS NOT NULL)),
    CONSTRAINT cooling_wallet_knows_since_which_assignment
        CHECK ((status = 'cooling') = (cooling_assignment_id IS NOT NULL)
               AND (status = 'cooling') = (cooling_until IS NOT NULL)),
    CONSTRAINT only_an_occupied_wallet_is_retiring CHECK (status = 'occupied' OR NOT retiring)
) WITH (fillfactor = 70);

CREATE UNIQUE INDEX free_place_is_unique ON wallets (currency, network, free_place) WHERE free_place IS NOT NULL;
CREATE UNIQUE INDEX order_holds_one_wallet ON wallets (currency, order_id) WHERE order_id IS NOT NULL;
CREATE INDEX wallets_cooling_by_end ON wallets (cooling_until) WHERE status = 'cooling';

-- assignments: which order held which wallet from which offset to which: audit trail and outbox. Never deleted.
CREATE TABLE assignments (
    assignment_id    uuid        NOT NULL,         -- uuid5 of topic/partition/offset; the notification's id
    partition        int         NOT NULL,
    assigned_offset  bigint      NOT NULL,         -- the event that made it
    released_offset  bigint,                       -- the event that ended it
    currency         text        NOT NULL,
    network          text        NOT NULL,
    address          text        NOT NULL,
    order_id         text        NOT NULL,
    waited           boolean     NOT NULL,
    assigned_at      timestamptz NOT NULL,         -- time of the record at assigned_offset
    released_at      timestamptz,
    PRIMARY KEY (assignment_id),
    CONSTRAINT wallet_is_released_after_it_was_assigned CHECK (released_offset > assigned_offset),
    CONSTRAINT released_assignment_has_a_time CHECK ((released_offset IS NULL) = (released_at IS NULL))
) WITH (fillfactor = 80);

CREATE UNIQUE INDEX event_makes_one_assignment ON assignments (partition, assigned_offset);
CREATE UNIQUE INDEX wallet_has_one_open_assignment ON assignments (currency, network, address) WHERE released_offset IS NULL;
CREATE UNIQUE INDEX order_has_one_open_assignment ON assignments (currency, order_id) WHERE released_offset IS NULL;
CREATE INDEX assignments_by_order ON assignments (currency, order_id);

-- dead_letters: records that were refused, with their bytes, why, and where they came from.
CREATE TABLE dead_letters (
    topic         text        NOT NULL,
    partition     int         NOT NULL,
    "offset"      bigint      NOT NULL,
    reason        text        NOT NULL,
    message       text        NOT NULL,
    record_at     timestamptz NOT NULL,
    key           bytea,
    value         bytea,                           -- NULL: the record had none, or it was too large to keep
    value_length  bigint,                          -- NULL: the record had no value
    value_sha256  text,
    traceparent   text,
    awaits_publishing boolean NOT NULL DEFAULT false,  -- the mailer's: its failures have no watermark to go out by
    PRIMARY KEY (topic, partition, "offset"),
    CONSTRAINT kept_bytes_are_whole CHECK (value IS NULL OR octet_length(value) = value_length),
    CONSTRAINT value_left_out_is_known_by_its_digest CHECK ((value_length IS NULL) = (value_sha256 IS NULL))
);

CREATE INDEX dead_letters_to_publish ON dead_letters (topic, partition, "offset") WHERE awaits_publishing;

-- deliveries: the mailer's own table: one row for each notification, from its arrival to its end.
CREATE TABLE deliveries (
    notification_id  uuid        NOT NULL PRIMARY KEY,
    partition        int         NOT NULL,         -- of the notification topic
    "offset"         bigint      NOT NULL,
    currency         text        NOT NULL,
    order_id         text        NOT NULL,
    traceparent      text,
    state            text        NOT NULL DEFAULT 'due',
    attempts         int         NOT NULL DEFAULT 0,
    next_attempt_at  timestamptz DEFAULT now(),    -- due: when; sending: when the lease ends
    lease_holder     uuid,                         -- sending: which claim
    outcome          text,                         -- what the last attempt came to
    address          text,                         -- the address that the last attempt's mail showed
    sent_at          timestamptz,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT delivery_state_is_known
        CHECK (state IN ('due', 'sending', 'sent', 'failed', 'superseded', 'expired', 'held')),
    CONSTRAINT live_delivery_has_a_next_attempt
        CHECK ((state IN ('due', 'sending')) = (next_attempt_at IS NOT NULL)),
    CONSTRAINT delivery_in_flight_has_a_lease CHECK ((state = 'sending') = (lease_holder IS NOT NULL)),
    CONSTRAINT sent_mail_has_a_time_and_an_address
        CHECK (state <> 'sent' OR (sent_at IS NOT NULL AND address IS NOT NULL)),
    CONSTRAINT ended_delivery_says_why CHECK (state IN ('due', 'sending') OR outcome IS NOT NULL)
) WITH (fillfactor = 70);

CREATE INDEX deliveries_by_next_attempt ON deliveries (next_attempt_at) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX deliveries_by_order ON deliveries (currency, order_id);
