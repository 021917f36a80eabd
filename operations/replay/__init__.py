"""`walletq replay`: recomputes the state from the log with the allocator's own rules.

`command` has what the command line runs: `compare_with_database`, `try_other_rules`, `rebuild_database`; `audit` is
what `walletq verify` runs, too. The replayed state is kept on disk (`state`), so the log may be of any length.
"""
