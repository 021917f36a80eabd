"""`walletq why ORDER`: an order's story in time order, and where it stands.

- `facts`: what the database knows of the order
- `events`: what the log says at the offsets that the rows name
- `story`: both as a list of what happened: pure
- `standing`: where the order stands now, in sentences: pure
- `command`: the answer, as text and as JSON
"""
