-- An operator who has seen in the mail server's log that a held mail went out says so.
GRANT UPDATE (address, sent_at) ON deliveries TO walletq_operator;
