"""Waiting for a contender: as long as it goes on."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import asyncpg

from benchmarks import meters
from benchmarks.check import check
from benchmarks.delays import Arrival
from benchmarks.log import Log
from benchmarks.worker import Worker

PUBLISHED = "SELECT coalesce(sum(published_offset), 0)::bigint FROM partitions"
"How many records walletq has applied, and published what they led to; for `counted`, in a log without gaps."

LOOK_SECONDS = 0.02
STALL_SECONDS = 60.0
"A contender that does nothing new for so long is given up."


class Stalled(Exception):
    """A contender does not come to its end."""


class Wrong(Exception):
    """A contender has told an order something else than it must."""


async def worked_off(observer: Worker, log: Log, count: int, pids: Sequence[int]) -> None:
    """As `seen`; of a contender that does not come to its end, what was wrong before is more than that it stands still.

    Raises:
        Wrong: it has told something wrong; the observer is gone then.
        Stalled: it has not; likewise.
    """
    try:
        await seen(observer, count, pids)
    except Stalled as stalled:
        arrivals: list[Arrival] = await observer.end()
        verdict = check((one.value for one in arrivals), log.assigned, may_be_missing=True)
        if verdict.wrong is not None:
            raise Wrong(verdict.wrong) from stalled
        raise


async def seen(observer: Worker, count: int, pids: Sequence[int], patience: float = STALL_SECONDS) -> None:
    """Wait until the notifications of so many orders have arrived.

    Raises:
        Stalled: as `done`.
    """

    async def arrived() -> int:
        return observer.board.count

    await done(arrived, count, pids, patience, what="notifications")


async def counted(database_url: str, query: str, count: int, pids: Sequence[int], *, what: str) -> None:
    """Wait until the database counts so many.

    Raises:
        Stalled: as `done`.
    """
    connection = await asyncpg.connect(database_url)
    try:
        await done(lambda: connection.fetchval(query), count, pids, what=what)
    finally:
        await connection.close()


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
