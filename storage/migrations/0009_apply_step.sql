-- apply_batch, but that a known row is told only what has changed of it: nobody has to read the rest before.
--
-- Rows come as columns: an array of array literals, one for each column of the table, in the order that is named below;
-- empty where there are no rows. They are taken apart side by side in the SELECT list: in FROM each of them would first
-- be kept as a table of its own. Returns false, and writes nothing, where the place is not at batch_start.
CREATE FUNCTION apply_step(
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
        INSERT INTO orders (currency, order_id, status, network, amount, expires_at, traceparent, queue_place, address,
                            email, locale, reason, actor, pending_offset, pending_at, paid_offset, processing_offset,
                            ended_offset, ended_at)
        SELECT
            unnest(new_orders[1]::text[]), unnest(new_orders[2]::text[]), unnest(new_orders[3]::text[]),
            unnest(new_orders[4]::text[]), unnest(new_orders[5]::text[]), unnest(new_orders[6]::timestamptz[]),
            unnest(new_orders[7]::text[]), unnest(new_orders[8]::bigint[]), unnest(new_orders[9]::text[]),
            unnest(new_orders[10]::text[]), unnest(new_orders[11]::text[]), unnest(new_orders[12]::text[]),
            unnest(new_orders[13]::text[]), unnest(new_orders[14]::bigint[]), unnest(new_orders[15]::timestamptz[]),
            unnest(new_orders[16]::bigint[]), unnest(new_orders[17]::bigint[]), unnest(new_orders[18]::bigint[]),
            unnest(new_orders[19]::timestamptz[]);
    END IF;

    -- The reason and the actor are those of the last change of the status.
    IF changed_orders <> '{}' THEN
        UPDATE orders o
        SET status = c.status, queue_place = c.queue_place, address = c.address,
            reason = CASE WHEN c.status = o.status THEN o.reason ELSE c.reason END,
            actor = CASE WHEN c.status = o.status THEN o.actor ELSE c.actor END,
            network = coalesce(c.network, o.network),
            amount = coalesce(c.amount, o.amount),
            pending_offset = coalesce(c.pending_offset, o.pending_offset),
            pending_at = coalesce(c.pending_at, o.pending_at),
            paid_offset = coalesce(c.paid_offset, o.paid_offset),
            processing_offset = coalesce(c.processing_offset, o.processing_offset),
            ended_offset = coalesce(c.ended_offset, o.ended_offset),
            ended_at = coalesce(c.ended_at, o.ended_at)
        FROM (
            SELECT
                unnest(changed_orders[1]::text[]) AS currency, unnest(changed_orders[2]::text[]) AS order_id,
                unnest(changed_orders[3]::text[]) AS status, unnest(changed_orders[4]::text[]) AS network,
                unnest(changed_orders[5]::text[]) AS amount, unnest(changed_orders[6]::bigint[]) AS queue_place,
                unnest(changed_orders[7]::text[]) AS address, unnest(changed_orders[8]::text[]) AS reason,
                unnest(changed_orders[9]::text[]) AS actor, unnest(changed_orders[10]::bigint[]) AS pending_offset,
                unnest(changed_orders[11]::timestamptz[]) AS pending_at,
                unnest(changed_orders[12]::bigint[]) AS paid_offset,
                unnest(changed_orders[13]::bigint[]) AS processing_offset,
                unnest(changed_orders[14]::bigint[]) AS ended_offset,
                unnest(changed_orders[15]::timestamptz[]) AS ended_at
        ) c
        WHERE o.currency = c.currency AND o.order_id = c.order_id;
    END IF;

    IF new_wallets <> '{}' THEN
        INSERT INTO wallets (currency, network, address, status, free_place, order_id, assigned_offset, retiring,
                             cooling_assignment_id, cooling_until, added_offset, retired_offset)
        SELECT
            unnest(new_wallets[1]::text[]), unnest(new_wallets[2]::text[]), unnest(new_wallets[3]::text[]),
            unnest(new_wallets[4]::text[]), unnest(new_wallets[5]::bigint[]), unnest(new_wallets[6]::text[]),
            unnest(new_wallets[7]::bigint[]), unnest(new_wallets[8]::boolean[]), unnest(new_wallets[9]::uuid[]),
            unnest(new_wallets[10]::timestamptz[]), unnest(new_wallets[11]::bigint[]),
            unnest(new_wallets[12]::bigint[]);
    END IF;

    IF changed_wallets <> '{}' THEN
        UPDATE wallets w
        SET status = c.status, free_place = c.free_place, order_id = c.order_id, assigned_offset = c.assigned_offset,
            retiring = c.retiring, cooling_assignment_id = c.cooling_assignment_id, cooling_until = c.cooling_until,
            added_offset = coalesce(c.added_offset, w.added_offset),
            retired_offset = coalesce(c.retired_offset, w.retired_offset)
        FROM (
            SELECT
                unnest(changed_wallets[1]::text[]) AS currency, unnest(changed_wallets[2]::text[]) AS network,
                unnest(changed_wallets[3]::text[]) AS address, unnest(changed_wallets[4]::text[]) AS status,
                unnest(changed_wallets[5]::bigint[]) AS free_place, unnest(changed_wallets[6]::text[]) AS order_id,
                unnest(changed_wallets[7]::bigint[]) AS assigned_offset,
                unnest(changed_wallets[8]::boolean[]) AS retiring,
                unnest(changed_wallets[9]::uuid[]) AS cooling_assignment_id,
                unnest(changed_wallets[10]::timestamptz[]) AS cooling_until,
                unnest(changed_wallets[11]::bigint[]) AS added_offset,
                unnest(changed_wallets[12]::bigint[]) AS retired_offset
        ) c
        WHERE w.currency = c.currency AND w.network = c.network AND w.address = c.address;
    END IF;

    -- Before new ones begin: a wallet has one open assignment at most. The partition comes as a column, and what is open is
    -- known by its time, which no index has: a planner without statistics would rather read all assignments of the
    -- partition, or all open ones, than look each of them up by its key.
    IF ended_assignments <> '{}' THEN
        UPDATE assignments a
        SET released_offset = c.released_offset, released_at = c.released_at
        FROM (
            SELECT
                at_partition AS partition, unnest(ended_assignments[1]::bigint[]) AS assigned_offset,
                unnest(ended_assignments[2]::bigint[]) AS released_offset,
                unnest(ended_assignments[3]::timestamptz[]) AS released_at
        ) c
        WHERE a.partition = c.partition AND a.assigned_offset = c.assigned_offset AND a.released_at IS NULL;
    END IF;

    IF new_assignments <> '{}' THEN
        INSERT INTO assignments (partition, assignment_id, assigned_offset, released_offset, currency, network,
                                 address, order_id, waited, assigned_at, released_at)
        SELECT
            at_partition,
            unnest(new_assignments[1]::uuid[]), unnest(new_assignments[2]::bigint[]),
            unnest(new_assignments[3]::bigint[]), unnest(new_assignments[4]::text[]),
            unnest(new_assignments[5]::text[]), unnest(new_assignments[6]::text[]),
            unnest(new_assignments[7]::text[]), unnest(new_assignments[8]::boolean[]),
            unnest(new_assignments[9]::timestamptz[]), unnest(new_assignments[10]::timestamptz[]);
    END IF;

    IF refused <> '{}' THEN
        INSERT INTO dead_letters (topic, partition, "offset", reason, message, record_at, key, value, value_length,
                                  value_sha256, traceparent)
        SELECT
            at_topic, at_partition,
            unnest(refused[1]::bigint[]), unnest(refused[2]::text[]), unnest(refused[3]::text[]),
            unnest(refused[4]::timestamptz[]), unnest(refused[5]::bytea[]), unnest(refused[6]::bytea[]),
            unnest(refused[7]::bigint[]), unnest(refused[8]::text[]), unnest(refused[9]::text[]);
    END IF;
    RETURN true;
END $$;

REVOKE EXECUTE ON FUNCTION apply_step FROM PUBLIC;
GRANT EXECUTE ON FUNCTION apply_step TO walletq_allocator;
