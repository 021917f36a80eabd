"""A pipe for the log of a process, and a reader of it that can stop to read."""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


class LogPipe:
    """Is read from the beginning on. Made by `log_pipe`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self.read_on()

    def leave(self) -> None:
        """Read no more: when the pipe is full, whoever writes to it waits."""
        self._loop.remove_reader(self._descriptor)

    def read_on(self) -> None:
        """Read what is there, and what comes, until the writer is at its end."""
        self._loop.add_reader(self._descriptor, self._read)

    def _read(self) -> None:
        if not os.read(self._descriptor, 1 << 16):
            self.leave()


@contextlib.contextmanager
def log_pipe(path: Path) -> Iterator[LogPipe]:
    """A new pipe of that name."""
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # at once, and so does the writer's
    pipe = LogPipe(path, descriptor)
    try:
        yield pipe
    finally:
        pipe.leave()
        os.close(descriptor)
