-- A batch is one statement: a fence in front, then all of its writes, or none of them. In one call there is no moment
-- at which an owner holds the lock of its partition and may be stopped, and one round trip instead of up to ten.
--
-- Rows come as columns: an array of array literals, one for each column of the table, in the order that is named below;
-- empty where there are no rows. Returns false, and writes nothing, where the place is not at batch_start.
CREATE FUNCTION apply_batch(
    at_topic text, at_partition int, batch_start bigint, batch_end bigint, published bigint, counts bigint[],
    catalogue_sha256 text, catalogue_content text,
    new_orders text[], changed_orders text[], new_wallets text[], changed_wallets text[],
    ended_assignments text[], new_assignments text[], refused text[]
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE partitions
    SET next_offset = batch_end,
        published_offset = greatest(published_offset, published),
        applied = applied + counts[1],
        no_effect = no_effect + counts[2],
        dead_letters = dead_letters + counts[3],
        dropped_fields = dropped_fields + counts[4],
        early_finals = early_finals + counts[5]
    WHERE topic = at_topic AND partition = at_partition AND next_offset = batch_start;
    IF NOT FOUND THEN
        RETURN false;
    END IF;

    IF catalogue_sha256 IS NOT NULL THEN
        INSERT INTO catalogues (topic, partition, from_offset, sha256, content)
        VALUES (at_topic, at_partition, batch_start, catalogue_sha256, catalogue_content);
    END IF;

    IF new_orders <> '{}' THEN
        INSERT INTO orders (currency, order_id, status, network, amount, email, locale, expires_at, traceparent,
                            queue_place, address, reason, actor, pending_offset, pending_at, paid_offset,
                            processing_offset, ended_offset, ended_at)
        SELECT * FROM unnest(
            new_orders[1]::text[], new_orders[2]::text[], new_orders[3]::text[], new_orders[4]::text[],
            new_orders[5]::text[], new_orders[6]::text[], new_orders[7]::text[], new_orders[8]::timestamptz[],
            new_orders[9]::text[], new_orders[10]::bigint[], new_orders[11]::text[], new_orders[12]::text[],
            new_orders[13]::text[], new_orders[14]::bigint[], new_orders[15]::timestamptz[], new_orders[16]::bigint[],
            new_orders[17]::bigint[], new_orders[18]::bigint[], new_orders[19]::timestamptz[]);
    END IF;

    IF changed_orders <> '{}' THEN
        UPDATE orders o
        SET status = c.status, network = c.network, amount = c.amount, queue_place = c.queue_place,
            address = c.address, reason = c.reason, actor = c.actor, pending_offset = c.pending_offset,
            pending_at = c.pending_at, paid_offset = c.paid_offset, processing_offset = c.processing_offset,
            ended_offset = c.ended_offset, ended_at = c.ended_at
        FROM unnest(
            changed_orders[1]::text[], changed_orders[2]::text[], changed_orders[3]::text[], changed_orders[4]::text[],
            changed_orders[5]::text[], changed_orders[6]::bigint[], changed_orders[7]::text[],
            changed_orders[8]::text[], changed_orders[9]::text[], changed_orders[10]::bigint[],
            changed_orders[11]::timestamptz[], changed_orders[12]::bigint[], changed_orders[13]::bigint[],
            changed_orders[14]::bigint[], changed_orders[15]::timestamptz[])
            AS c (currency, order_id, status, network, amount, queue_place, address, reason, actor, pending_offset,
                  pending_at, paid_offset, processing_offset, ended_offset, ended_at)
        WHERE o.currency = c.currency AND o.order_id = c.order_id;
    END IF;

    IF new_wallets <> '{}' THEN
        INSERT INTO wallets (currency, network, address, status, added_offset, free_place, order_id, assigned_offset,
                             retiring, cooling_assignment_id, cooling_until, retired_offset)
        SELECT * FROM unnest(
            new_wallets[1]::text[], new_wallets[2]::text[], new_wallets[3]::text[], new_wallets[4]::text[],
            new_wallets[5]::bigint[], new_wallets[6]::bigint[], new_wallets[7]::text[], new_wallets[8]::bigint[],
            new_wallets[9]::boolean[], new_wallets[10]::uuid[], new_wallets[11]::timestamptz[],
            new_wallets[12]::bigint[]);
    END IF;

    IF changed_wallets <> '{}' THEN
        UPDATE wallets w
        SET status = c.status, added_offset = c.added_offset, free_place = c.free_place, order_id = c.order_id,
            assigned_offset = c.assigned_offset, retiring = c.retiring,
            cooling_assignment_id = c.cooling_assignment_id, cooling_until = c.cooling_until,
            retired_offset = c.retired_offset
        FROM unnest(
            changed_wallets[1]::text[], changed_wallets[2]::text[], changed_wallets[3]::text[],
            changed_wallets[4]::text[], changed_wallets[5]::bigint[], changed_wallets[6]::bigint[],
            changed_wallets[7]::text[], changed_wallets[8]::bigint[], changed_wallets[9]::boolean[],
            changed_wallets[10]::uuid[], changed_wallets[11]::timestamptz[], changed_wallets[12]::bigint[])
            AS c (currency, network, address, status, added_offset, free_place, order_id, assigned_offset, retiring,
                  cooling_assignment_id, cooling_until, retired_offset)
        WHERE w.currency = c.currency AND w.network = c.network AND w.address = c.address;
    END IF;

    -- Before new ones begin: a wallet and an order have one open assignment at most.
    IF ended_assignments <> '{}' THEN
        UPDATE assignments a
        SET released_offset = c.released_offset, released_at = c.released_at
        FROM unnest(ended_assignments[1]::bigint[], ended_assignments[2]::bigint[], ended_assignments[3]::timestamptz[])
            AS c (assigned_offset, released_offset, released_at)
        WHERE a.partition = at_partition AND a.assigned_offset = c.assigned_offset AND a.released_offset IS NULL;
    END IF;

    IF new_assignments <> '{}' THEN
        INSERT INTO assignments (partition, assignment_id, assigned_offset, released_offset, currency, network,
                                 address, order_id, waited, assigned_at, released_at)
        SELECT at_partition, * FROM unnest(
            new_assignments[1]::uuid[], new_assignments[2]::bigint[], new_assignments[3]::bigint[],
            new_assignments[4]::text[], new_assignments[5]::text[], new_assignments[6]::text[],
            new_assignments[7]::text[], new_assignments[8]::boolean[], new_assignments[9]::timestamptz[],
            new_assignments[10]::timestamptz[]);
    END IF;

    IF refused <> '{}' THEN
        INSERT INTO dead_letters (topic, partition, "offset", reason, message, record_at, key, value, value_length,
                                  value_sha256, traceparent)
        SELECT at_topic, at_partition, * FROM unnest(
            refused[1]::bigint[], refused[2]::text[], refused[3]::text[], refused[4]::timestamptz[],
            refused[5]::bytea[], refused[6]::bytea[], refused[7]::bigint[], refused[8]::text[], refused[9]::text[]);
    END IF;
    RETURN true;
END $$;

REVOKE EXECUTE ON FUNCTION apply_batch FROM PUBLIC;
GRANT EXECUTE ON FUNCTION apply_batch TO walletq_allocator;
