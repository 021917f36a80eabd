"""Latency: from the time at which an event is due to what it leads to, at a steady rate."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import SecretStr

from benchmarks import meters
from benchmarks.check import check
from benchmarks.contenders import Contender, Run
from benchmarks.contenders.walletq import Walletq, settings_of, walletq
from benchmarks.delays import Arrival, Delay, falls_behind_by, first_arrivals, percentile
from benchmarks.load import PRELUDE, Load, loading
from benchmarks.log import Log
from benchmarks.mail_sink import accept_mails
from benchmarks.progress import Stalled, Wrong, counted
from benchmarks.results import Latency
from benchmarks.servers import Bench
from benchmarks.worker import working
from embedded.ports import HOST

SETTLING_SHARE = 0.2
"Of the schedule: not counted."
PATIENCE_SECONDS = 10.0
"After the schedule; who still has a backlog then falls behind."
ENDED_MAILS = "SELECT count(*) FILTER (WHERE state NOT IN ('due', 'sending')) FROM deliveries"


async def latency(bench: Bench, contender: Contender, log: Log, rate: float) -> Latency:
    """From event to notification.

    Raises:
        Wrong, Stalled: the contender has died, or does not come to its end although it keeps up.
    """
    async with bench.run(f"{contender.name} {rate:g}") as run:
        await contender.prepare(run)
        async with loading(run, log, rate) as load:
            await bench.settle()
            async with contender.running(run) as pids:
                course = await _course(bench, load, pids, lambda: load.prelude_seen(pids), lambda: load.seen(pids))
            arrivals = await load.arrivals()
    return _result(load, course, arrivals, arrivals)


async def mail_latency(bench: Bench, log: Log, rate: float) -> Latency:
    """From event to the moment when a mail server has accepted its mail: walletq's two consumers.

    Raises:
        Stalled: one of them has died, or does not come to its end although it keeps up.
    """
    async with bench.run(f"mail {rate:g}") as run, working(accept_mails) as (sink, port):
        allocator = Walletq()
        await allocator.prepare(run)
        settings = settings_of(run, member_id="mailer-1", smtp_url=SecretStr(f"smtp://{HOST}:{port}"))
        async with loading(run, log, rate) as load:
            await bench.settle()
            async with allocator.running(run) as first, walletq("mail", settings, run) as second:
                pids = [*first, *second]
                course = await _course(
                    bench,
                    load,
                    pids,
                    lambda: _mails_ended(run, len(log.up_to(PRELUDE)), pids),
                    lambda: _mails_ended(run, len(log.assigned), pids),
                )
            notified, mailed = await load.arrivals(), await sink.end()
    return _result(load, course, notified, mailed)


class _Course(NamedTuple):
    """What a run was like."""

    late: Sequence[int]
    cpu_seconds: Mapping[str, float]
    ended: bool
    "All that had to come has come in time."


async def _course(
    bench: Bench,
    load: Load,
    pids: Sequence[int],
    prelude_ended: Callable[[], Awaitable[None]],
    ended: Callable[[], Awaitable[None]],
) -> _Course:
    roots = {"contender": pids} | {name: [pid] for name, pid in bench.pids.items()}
    await prelude_ended()
    await load.begin()
    before = meters.cpu_seconds_of(roots)
    late = await load.sent()
    after = meters.cpu_seconds_of(roots)
    used = {name: after[name] - before[name] for name in roots}
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await ended()
    except TimeoutError:
        return _Course(late, used, ended=False)
    return _Course(late, used, ended=True)


async def _mails_ended(run: Run, count: int, pids: Sequence[int]) -> None:
    """Wait until so many deliveries have ended, in whichever way."""
    await counted(run.database_url, ENDED_MAILS, count, pids, what="deliveries")


def _result(load: Load, course: _Course, notified: Sequence[Arrival], arrived: Sequence[Arrival]) -> Latency:
    log = load.log
    delays = delays_of(load, arrived)
    behind = falls_behind_by(delays, load.rate)
    verdict = check((one.value for one in notified), log.assigned, may_be_missing=not course.ended)
    if not delays or not (course.ended or behind):
        if verdict.wrong is not None:
            raise Wrong(verdict.wrong)
        raise Stalled(f"keeps up, but not everything came in time ({verdict.missing} notifications are missing)")
    settled = delays[0].due + load.seconds * SETTLING_SHARE * 1e9
    # Who is far behind has not come to the part that counts.
    counted = sorted((at - due) / 1e6 for due, at in delays if due >= settled or delays[-1].due < settled)
    late = sorted(nanoseconds / 1e6 for nanoseconds in course.late)
    sent = len(log.messages) - PRELUDE
    used: dict[str, Any] = {name: seconds / sent * 1e6 for name, seconds in course.cpu_seconds.items()}
    return Latency(
        rate=load.rate,
        seconds=load.seconds,
        measured=len(counted),
        p50_ms=percentile(counted, 50),
        p99_ms=percentile(counted, 99),
        max_ms=counted[-1],
        falls_behind_by=behind,
        late_p99_ms=percentile(late, 99),
        late_max_ms=late[-1],
        cpu_us_per_event=used.pop("contender"),
        servers_cpu_us_per_event=used,
        repeated=len(arrived) - len({one.key for one in arrived}),
        not_led_to=len(log.keys - {one.key for one in arrived}) if course.ended else 0,
        wrong=verdict.wrong,
    )


def delays_of(load: Load, arrived: Sequence[Arrival]) -> list[Delay]:
    """Of each order whose event was on the schedule and led to an arrival, in the order of the schedule."""
    firsts = first_arrivals(arrived)
    known = ((load.due(made.cause), firsts.get(order_id.encode())) for (_, order_id), made in load.log.assigned.items())
    return sorted(Delay(due, at) for due, at in known if due is not None and at is not None)
