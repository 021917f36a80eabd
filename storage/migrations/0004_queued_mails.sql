-- Deliveries of a second kind: the mail to whose order waits. It has no notification on a topic.

ALTER TABLE deliveries
    ADD COLUMN kind text NOT NULL DEFAULT 'assigned',  -- queued: partition and "offset" are those of the pending event
    ADD CONSTRAINT delivery_kind_is_known CHECK (kind IN ('assigned', 'queued')),
    DROP CONSTRAINT sent_mail_has_a_time_and_an_address,
    ADD CONSTRAINT sent_mail_has_a_time CHECK (state <> 'sent' OR sent_at IS NOT NULL),
    ADD CONSTRAINT sent_mail_of_an_assignment_showed_an_address
        CHECK (state <> 'sent' OR kind <> 'assigned' OR address IS NOT NULL),
    ADD CONSTRAINT mail_of_a_waiting_order_shows_no_address CHECK (kind <> 'queued' OR address IS NULL);

-- How far in the log of a currency waiting orders have their deliveries.
CREATE INDEX queued_deliveries_by_place ON deliveries (currency, "offset") WHERE kind = 'queued';
CREATE INDEX queued_deliveries_by_next_attempt ON deliveries (next_attempt_at)
    WHERE kind = 'queued' AND next_attempt_at IS NOT NULL;

-- An operator holds deliveries back and sends them again; nothing else is changed past the topic.
GRANT UPDATE (state, next_attempt_at, outcome, updated_at) ON deliveries TO walletq_operator;
