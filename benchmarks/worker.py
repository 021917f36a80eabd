"""A process of the benchmark's own, so that what it measures or sends is disturbed by nothing else of the benchmark."""

import asyncio
import contextlib
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Callable
from multiprocessing.connection import Connection
from typing import Any

SPAWN = multiprocessing.get_context("spawn")
JOIN_SECONDS = 5.0


class Board:
    """Two numbers that both processes see, at no cost worth speaking of."""

    def __init__(self) -> None:
        self._numbers = SPAWN.RawArray("q", 2)

    @property
    def count(self) -> int:
        """How far the worker is."""
        return int(self._numbers[0])

    @count.setter
    def count(self, count: int) -> None:
        self._numbers[0] = count

    @property
    def ended(self) -> bool:
        """The worker is asked to come to its end."""
        return bool(self._numbers[1])

    def end(self) -> None:
        """Ask it to."""
        self._numbers[1] = 1


Work = Callable[..., None]
"Called with a connection, a board and arguments: sends what it has when it is ready, and once more at its end."


class Worker:
    """The process and what it says. Made by `working`."""

    def __init__(self, work: Work, *args: Any) -> None:
        self.board = Board()
        self._here, there = SPAWN.Pipe()
        self._process = SPAWN.Process(target=_run, args=(work, there, self.board, *args), daemon=True)
        self._process.start()
        there.close()

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process.pid is not None
        return self._process.pid

    async def said(self) -> Any:
        """What it says next.

        Raises:
            EOFError: it has ended without saying so.
        """
        return await asyncio.to_thread(self._here.recv)

    def go(self) -> None:
        """Let it go on, where it waits for that."""
        self._here.send(None)

    async def end(self) -> Any:
        """Ask it to come to its end, and return what it has to say then."""
        self.board.end()
        return await self.said()

    def kill(self) -> None:
        """End it in whatever state it is."""
        self._process.kill()
        self._process.join(JOIN_SECONDS)


@contextlib.asynccontextmanager
async def working(work: Work, *args: Any) -> AsyncIterator[tuple[Worker, Any]]:
    """A worker and what it has said when it was ready; it is gone at the end of the block."""
    worker = Worker(work, *args)
    try:
        yield worker, await worker.said()
    finally:
        worker.kill()


def _run(work: Work, connection: Connection, board: Board, *args: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the benchmark: it ends its workers
    work(connection, board, *args)


def orphaned(parent: int) -> bool:
    """Whether the process that had this id as its parent has lost it."""
    return os.getppid() != parent
