"""What a process tells of itself: health, metrics, traces. Off unless the settings ask for it, and then not imported.

`Monitor` is what a process is handed; `judge` decides whether it is alive and ready, from plain data.
"""
