-- What KEDA may see: when deliveries are due, and nothing of whose they are. Run it as the tables' owner, after
-- `walletq migrate`; again does no harm.
GRANT USAGE ON SCHEMA public TO walletq_keda_login;
GRANT SELECT (next_attempt_at) ON deliveries TO walletq_keda_login;
