"""Where state is kept: PostgreSQL (connections, migrations, named SQL) and Kafka (client options, topics)."""
