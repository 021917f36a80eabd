-- Dead letters are found by the order that they name, and what was replayed of them is on record.

-- field_of: a field of a value that should be a JSON object; NULL where there is none. 65 characters at most: more is no
-- id, and would not fit into an index. It must never fail: the batch that writes the value would fail with it.
CREATE FUNCTION field_of(value bytea, field text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN left(convert_from(value, 'UTF8')::jsonb ->> field, 65);
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END $$;

CREATE INDEX dead_letters_by_order ON dead_letters (field_of(value, 'order_id'));

-- dead_letter_replays: a dead letter goes onto its topic again: by whom, with which edits, under which new event id.
-- A row is written before its event goes out; where the event is now is noted afterwards, and nothing else is changed.
CREATE TABLE dead_letter_replays (
    event_id          text        NOT NULL,        -- of the new event: made of the place, the edits, and how often it was replayed before
    topic             text        NOT NULL,        -- the dead letter's place
    partition         int         NOT NULL,
    "offset"          bigint      NOT NULL,
    actor             text        NOT NULL,
    edits             jsonb       NOT NULL,        -- [{"path": …, "before": …, "after": …}]; null: no such field
    target_partition  int         NOT NULL,        -- of the same topic: the right one of the event's currency
    log_end           bigint      NOT NULL,        -- where that partition ended: the event is not before it
    begun_at          timestamptz NOT NULL DEFAULT now(),
    published_offset  bigint,                      -- NULL: it is not known whether the event went out
    published_at      timestamptz,
    PRIMARY KEY (event_id),
    CONSTRAINT replay_is_of_a_dead_letter FOREIGN KEY (topic, partition, "offset") REFERENCES dead_letters,
    CONSTRAINT published_replay_has_a_time CHECK ((published_offset IS NULL) = (published_at IS NULL)),
    CONSTRAINT replay_is_behind_the_end_of_the_log CHECK (published_offset >= log_end)
);

CREATE INDEX dead_letter_replays_by_place ON dead_letter_replays (topic, partition, "offset");

GRANT SELECT, INSERT, UPDATE (published_offset, published_at) ON dead_letter_replays TO walletq_operator;

-- How many wallets came free lately. A block range index costs next to nothing where rows come and change in order.
CREATE INDEX assignments_by_release ON assignments USING brin (released_at) WITH (autosummarize = on);
