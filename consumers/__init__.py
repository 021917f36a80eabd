"""The two consumers: the allocator, which assigns wallets, and the mailer, which tells the customers."""
