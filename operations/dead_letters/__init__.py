"""`walletq dead-letters`: what was refused and why, and how it gets its second chance.

- `letters`: the dead letters of the database, and what was replayed of them
- `masking`: a payload to look at, without whom it is about
- `edits`: what `--set` does to a payload
- `preparing`: from a dead letter to the event that may go out, or why none can
- `forecast`: what the rules would do with it now, in words
- `planning`: which of many go out, and what is to be expected of each
- `replaying`: the order of steps in which they go out, so that no crash loses the link
- `showing`: all of it as text and as JSON
- `commands`: list, show, replay
"""
