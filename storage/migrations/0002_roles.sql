-- Roles with least privilege. They belong to the whole server, so a second database finds them there already.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['walletq_allocator', 'walletq_mailer', 'walletq_operator'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;  -- another database's migration made it in the same moment
            END;
        END IF;
    END LOOP;
END $$;

DO $$ BEGIN EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC', current_schema()); END $$;
DO $$ BEGIN EXECUTE format('GRANT USAGE ON SCHEMA %I TO walletq_allocator, walletq_mailer, walletq_operator', current_schema()); END $$;

-- The allocator writes the state; it deletes nothing.
GRANT SELECT, INSERT, UPDATE ON partitions, orders, wallets, assignments TO walletq_allocator;
GRANT SELECT, INSERT ON catalogues, dead_letters TO walletq_allocator;
GRANT SELECT ON schema_migrations TO walletq_allocator, walletq_mailer;

-- The mailer reads what it mails about, and writes its own places, deliveries and dead letters.
GRANT SELECT, INSERT, UPDATE ON partitions, deliveries TO walletq_mailer;
GRANT SELECT ON orders, assignments TO walletq_mailer;
GRANT SELECT, INSERT, UPDATE (awaits_publishing) ON dead_letters TO walletq_mailer;

-- The operator looks; what an operator changes goes through the topic.
GRANT SELECT ON partitions, catalogues, orders, wallets, assignments, dead_letters, deliveries, schema_migrations
    TO walletq_operator;
