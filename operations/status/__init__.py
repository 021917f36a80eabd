"""`walletq status`: pools, queues, partitions, mails, dead letters.

- `facts`: what the database and Kafka say now
- `tables`: the facts as tables and as JSON
- `screen`: the facts on one screen of a terminal
- `command`: once, or again and again
"""
