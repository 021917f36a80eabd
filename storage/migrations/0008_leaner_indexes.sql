-- The hot tables keep fewer indexes, and what follows a payment touches none of them.

-- In the order in which everybody else takes them: a batch begins with its partition and holds nothing while it waits for
-- that, mailers come to assignments before orders. A lock of each when its turn comes would be a deadlock under load.
LOCK TABLE partitions IN EXCLUSIVE MODE;
LOCK TABLE assignments, orders IN ACCESS EXCLUSIVE MODE;

-- An id is random, so each insert and each release wrote to another page of its index. It is made of the place of the
-- event, and as unique as that.
ALTER TABLE assignments
    DROP CONSTRAINT assignments_pkey,
    ADD CONSTRAINT event_makes_one_assignment PRIMARY KEY USING INDEX event_makes_one_assignment;

-- An order gets one wallet in its whole life: no version ever gave it a second one. So one index does for both.
DROP INDEX order_has_one_open_assignment;
DROP INDEX assignments_by_order;
CREATE UNIQUE INDEX order_has_one_assignment ON assignments (currency, order_id);

-- With the status in the index's predicate, each change of it wrote a new entry to every index of the table. A column that
-- is empty from the payment on leaves processing and the end to HOT updates. The clock asks currency by currency.
DROP INDEX orders_pending_by_expiry;
ALTER TABLE orders
    ADD COLUMN pending_until timestamptz GENERATED ALWAYS AS (CASE WHEN status = 'pending' THEN expires_at END) STORED;
CREATE INDEX orders_pending_by_expiry ON orders (currency, pending_until) WHERE pending_until IS NOT NULL;
