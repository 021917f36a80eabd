"""Real Kafka, PostgreSQL and an inbox as child processes, for a trial and for tests.

What this folder offers: `stack.Stack` (start and stop the servers of a folder), `stack.Servers` (where they
are), `child.Child` (a process that never outlives us) and `errors` (what can go wrong, and what to do).
"""
