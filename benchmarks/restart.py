"""How long nobody is served after kill -9: until the same member is back, or until another has taken over."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Sequence

from benchmarks.check import check
from benchmarks.contenders import Contender, WithStandby
from benchmarks.delays import Arrival, first_arrivals
from benchmarks.drain import QUIET_SECONDS
from benchmarks.load import Load, loading
from benchmarks.log import Log
from benchmarks.progress import Stalled
from benchmarks.results import Pause
from benchmarks.servers import Bench

RATE = 500.0
SCHEDULE_SECONDS = 20
KILL_AT_SECONDS = 5.0
PATIENCE_SECONDS = 90.0
"Some wait for a session timeout before anybody is served."


async def restart(bench: Bench, contender: Contender, log: Log) -> Pause:
    """Kill the first process, and start the contender again at once.

    Raises:
        Stalled: it never came back.
    """
    async with bench.run(f"{contender.name} restart") as run:
        await contender.prepare(run)
        async with loading(run, log, RATE) as load:
            await bench.settle()
            with contextlib.suppress(ProcessLookupError):
                async with contender.running(run) as pids:
                    await load.prelude_seen(pids)
                    await load.begin()
                    killed = await _kill(load, pids)
            async with contender.running(run) as pids:
                stalled = await _finish(load, pids)
            return pause(load, killed, await load.arrivals(), stalled)


async def takeover(bench: Bench, contender: Contender, log: Log) -> Pause | None:
    """Kill the first process while another member runs; None where the contender offers none.

    Raises:
        Stalled: it never came back.
    """
    if not isinstance(contender, WithStandby):
        return None
    async with bench.run(f"{contender.name} takeover") as run:
        await contender.prepare(run)
        async with loading(run, log, RATE) as load:
            await bench.settle()
            async with contender.running(run) as first, contender.standby(run) as second:
                await load.prelude_seen([*first, *second])
                await load.begin()
                killed = await _kill(load, first)
                stalled = await _finish(load, second)
            return pause(load, killed, await load.arrivals(), stalled)


async def _kill(load: Load, pids: Sequence[int]) -> int:
    await load.until(KILL_AT_SECONDS)
    os.kill(pids[0], signal.SIGKILL)
    return time.monotonic_ns()


async def _finish(load: Load, pids: Sequence[int]) -> Stalled | None:
    """Wait for all that must come; what is missing after a stall is what the kill has lost."""
    await load.sent()
    try:
        await load.seen(pids, PATIENCE_SECONDS)
    except Stalled as stalled:
        return stalled
    await asyncio.sleep(QUIET_SECONDS)
    return None


def pause(load: Load, killed: int, arrivals: Sequence[Arrival], stalled: Stalled | None = None) -> Pause:
    """From the kill to the first notification of an event that was due after it, of each partition.

    Raises:
        Stalled: there was none.
    """
    firsts = first_arrivals(arrivals)
    back: dict[int, int] = {}
    for (_, order_id), made in load.log.assigned.items():
        due, at = load.due(made.cause), firsts.get(order_id.encode())
        if due is not None and at is not None and due > killed:
            partition = load.log.messages[made.cause].partition
            back[partition] = min(back.get(partition, at), at)
    verdict = check((one.value for one in arrivals), load.log.assigned)
    if not back:
        raise stalled or Stalled("nothing came of any event after the kill")
    seconds = [(at - killed) / 1e9 for at in back.values()]
    wrong = f"{stalled}; {verdict.wrong}" if stalled else verdict.wrong
    return Pause(load.rate, max(seconds), min(seconds), verdict.repeated, wrong)
