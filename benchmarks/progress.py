"""Waiting for a contender: as long as it goes on."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from benchmarks import meters
from benchmarks.worker import Worker

LOOK_SECONDS = 0.02
STALL_SECONDS = 60.0
"A contender that does nothing new for so long is given up."


class Stalled(Exception):
    """A contender does not come to its end."""


async def seen(observer: Worker, count: int, pids: Sequence[int], patience: float = STALL_SECONDS) -> None:
    """Wait until the notifications of so many orders have arrived.

    Raises:
        Stalled: as `done`.
    """

    async def arrived() -> int:
        return observer.board.count

    await done(arrived, count, pids, patience, what="notifications")


async def done(
    so_far: Callable[[], Awaitable[int]], count: int, pids: Sequence[int], patience: float = STALL_SECONDS, *, what: str
) -> None:
    """Wait until a count is reached.

    Args:
        so_far: how many there are now.
        count: how many there must be.
        pids: the processes on which it depends.
        patience: seconds without a new one.
        what: what is counted.

    Raises:
        Stalled: a process has ended, or nothing new has come for so long.
    """
    before, since = await so_far(), time.monotonic()
    while (now := await so_far()) < count:
        if now > before:
            before, since = now, time.monotonic()
        elif not meters.alive(pids):
            raise Stalled(f"a process has ended after {now} of {count} {what}")
        elif time.monotonic() - since > patience:
            raise Stalled(f"nothing new for {patience:g} s after {now} of {count} {what}")
        await asyncio.sleep(LOOK_SECONDS)
