"""The drain: how fast a contender works off a backlog, and what that takes."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from benchmarks import meters
from benchmarks.check import check
from benchmarks.contenders import Contender, Run
from benchmarks.delays import Arrival, first_arrivals
from benchmarks.log import Log
from benchmarks.observer import observe
from benchmarks.progress import worked_off
from benchmarks.publisher import publish
from benchmarks.results import Drain
from benchmarks.servers import Bench
from benchmarks.worker import working

Fill = Callable[[Run], Awaitable[None]]

QUIET_SECONDS = 0.5
"After the last notification that must come; what else comes in this time is looked at too."


async def drain(bench: Bench, contender: Contender, log: Log, *, begin: int = 0, fill: Fill | None = None) -> Drain:
    """Publish the log, start the contender, and measure until the last notification.

    Args:
        bench: the servers.
        contender: who drains.
        log: what there is to drain.
        begin: the messages before this one are drained first, and not measured.
        fill: writes something into the fresh database.

    Raises:
        Wrong, Stalled: it does not come to its end.
    """
    earlier = log.up_to(begin)
    before, events = len(earlier), len(log.messages) - begin
    async with bench.run(contender.name) as run:
        await contender.prepare(run)
        if fill is not None:
            await fill(run)
        async with working(observe, run.bootstrap_servers, run.notifications, log.keys) as (observer, _):
            if begin:
                await asyncio.to_thread(publish, run.bootstrap_servers, run.orders, log.messages[:begin])
                async with contender.running(run) as pids:
                    await worked_off(observer, log, before, pids)
            await asyncio.to_thread(publish, run.bootstrap_servers, run.orders, log.messages[begin:])
            await bench.settle()
            started = time.monotonic_ns()
            async with contender.running(run) as pids:
                roots = {"contender": pids, "observer": [observer.pid]} | {
                    name: [pid] for name, pid in bench.pids.items()
                }
                await worked_off(observer, log, before + 1, pids)
                first = meters.cpu_seconds_of(roots)
                memory_by_fifth = []
                for fifth in range(1, 6):
                    await worked_off(observer, log, before + (len(log.assigned) - before) * fifth // 5, pids)
                    memory_by_fifth.append(sum(one.final_mb for one in meters.memory(pids)))
                last = meters.cpu_seconds_of(roots)
                memory, kafka_memory = meters.memory(pids), meters.memory([bench.pids["kafka"]])
                await asyncio.sleep(QUIET_SECONDS)
            arrivals = await observer.end()
    used = {name: (last[name] - first[name]) / events * 1e6 for name in roots}
    return Drain(
        **_speed(log, arrivals, started, events, earlier),
        cpu_us_per_event=used["contender"],
        cpu_us_per_event_with_start=last["contender"] / events * 1e6,
        servers_cpu_us_per_event={name: used[name] for name in bench.pids},
        observer_cpu_us_per_event=used["observer"],
        memory=memory,
        memory_mb_by_fifth=memory_by_fifth,
        servers_memory=kafka_memory,
    )


def _speed(
    log: Log, arrivals: Sequence[Arrival], started: int, events: int, earlier: frozenset[bytes]
) -> dict[str, Any]:
    verdict = check((arrival.value for arrival in arrivals), log.assigned)
    came = sorted(at for key, at in first_arrivals(arrivals).items() if key not in earlier)

    def at(share: float) -> int:
        return came[round(share * (len(came) - 1))]

    return {
        "events": events,
        "notifications": len(came),
        "repeated": verdict.repeated,
        "seconds": (at(1) - at(0)) / 1e9,
        "seconds_to_first": (at(0) - started) / 1e9,
        "events_per_second": events / (at(1) - at(0)) * 1e9,
        "events_per_second_by_fifth": [
            events / 5 / max(1, at((fifth + 1) / 5) - at(fifth / 5)) * 1e9 for fifth in range(5)
        ],
        "events_per_second_with_start": events / (at(1) - started) * 1e9,
        "wrong": verdict.wrong,
    }
