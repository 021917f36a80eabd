"""How far a replay is: a bar on a terminal's standard error, nothing elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class Bar:
    """A bar of offsets. Made by `progress_bar`."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def tell(self, passed: int, offsets: int) -> None:
        """So many are passed of so many offsets."""
        self._progress.update(self._task, completed=passed, total=offsets)

    def say(self, what: str) -> None:
        """What is being done now."""
        self._progress.update(self._task, description=what)


@contextmanager
def progress_bar(what: str, *, wanted: bool) -> Iterator[Bar]:
    """A bar while the block runs; it leaves nothing behind.

    Args:
        what: what is being done.
        wanted: False: none, even on a terminal.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = wanted and sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown) as progress:
        yield Bar(progress, progress.add_task(what, total=None))
