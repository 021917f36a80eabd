-- The logins of walletq, each in the group role whose rights the migrations grant. Run it as a superuser in the empty
-- database, before `walletq migrate`; again does no harm. A login has no password, and so cannot be used, until
-- you give it one (`\password walletq_owner_login` in psql, which keeps it out of the server's log).
--
-- walletq_owner_login       walletq migrate, walletq replay --rebuild: owns the tables, and needs no right beyond this
--                           database
-- walletq_allocator_login   walletq allocate
-- walletq_mailer_login      walletq mail
-- walletq_clock_login       walletq clock
-- walletq_operator_login    every other command; make one for each person, as walletq_operator's member
-- walletq_keda_login        KEDA, which counts the mails that are due (keda.sql)

DO $$
DECLARE
    -- The group roles are the ones of migration 0002, which finds them there and needs no CREATEROLE then.
    groups CONSTANT text[] := ARRAY['walletq_allocator', 'walletq_mailer', 'walletq_operator'];
    logins CONSTANT text[] := ARRAY['walletq_owner_login', 'walletq_allocator_login', 'walletq_mailer_login',
                                    'walletq_clock_login', 'walletq_operator_login', 'walletq_keda_login'];
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY groups || logins LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        END IF;
    END LOOP;
    FOREACH wanted IN ARRAY logins LOOP
        EXECUTE format('ALTER ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION', wanted);
    END LOOP;
    EXECUTE format('ALTER DATABASE %I OWNER TO walletq_owner_login', current_database());
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO walletq_allocator, walletq_mailer, walletq_operator, '
                   'walletq_keda_login', current_database());
END $$;

GRANT walletq_allocator TO walletq_allocator_login;
GRANT walletq_mailer TO walletq_mailer_login;
GRANT walletq_operator TO walletq_clock_login, walletq_operator_login;
