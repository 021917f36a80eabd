"""`walletq dead-letters`: what was refused and why, and how it gets its second chance.

- `letters`: the dead letters of the database, and what was replayed of them
- `masking`: a payload to look at, without whom it is about
- `edits`: what `--set` does to a payload
- `preparing`: from a dead letter to the event that may go out, or why none can
- `forecast`: what the rules would do with it now, in words
- `replaying`: the order of steps in which it goes out, so that no crash loses the link
- `commands`: list, show, replay
"""
