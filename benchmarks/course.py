"""The course of the benchmark: which measurements are made, in which order."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

from benchmarks.contenders import Contender
from benchmarks.contenders.walletq import Walletq
from benchmarks.drain import drain
from benchmarks.floors import PARTS, floor
from benchmarks.foreknown import Foreknown
from benchmarks.latency import latency, mail_latency
from benchmarks.load import PRELUDE
from benchmarks.log import Log, make_log
from benchmarks.progress import Stalled, Wrong
from benchmarks.restart import RATE, SCHEDULE_SECONDS, restart, takeover
from benchmarks.results import Drain, Failed, Latency, Results, Row, Scale, middle
from benchmarks.scale import kinds
from benchmarks.servers import Bench

Measurement = Literal["drain", "latency", "restart", "scale"]
MEASUREMENTS: tuple[Measurement, ...] = ("drain", "latency", "restart", "scale")

WARM_UP_EVENTS, WARM_UPS = 200_000, 2
"Drained by walletq first, and not counted: a broker that has just started compiles its code while it serves."
OWN_WARM_UP_EVENTS = 20_000
"Drained by each contender before its drain: it may use other parts of the broker, such as transactions."
WARM_UP_SECONDS = 10
"At the highest rate, before the latencies, by walletq and not counted: the broker serves other requests then."
ROUNDS = 3
"So often each drain is made; the median counts."
LONGEST_SECONDS = 60
"Who would need longer for a drain, by the speed of the warm-up, gets a shorter log, once."

Result = TypeVar("Result")
Running = Sequence[tuple[Row, Contender]]


@dataclass(frozen=True)
class Plan:
    """What is wanted.

    Attributes:
        events: of the log that is drained.
        seed: of all traffic.
        rates: events a second, at which latency is measured.
        seconds: for each of them.
        measurements: which.
    """

    events: int
    seed: int
    rates: Sequence[float]
    seconds: float
    measurements: Sequence[Measurement] = MEASUREMENTS


async def measure(bench: Bench, plan: Plan, running: Running, results: Results) -> None:
    """Fill the rows of those that can run, and the floors. What fails for one says so, and the others go on."""
    await _tried("warming up", warm_up(bench, plan.seed, min(WARM_UP_EVENTS, plan.events)))
    if "drain" in plan.measurements:
        await _drains(bench, plan, running, results)
    if "latency" in plan.measurements:
        await _latencies(bench, plan, running, results)
    if "restart" in plan.measurements:
        await _restarts(bench, plan, running)
    if "scale" in plan.measurements and any(isinstance(contender, Walletq) for _, contender in running):
        await _scales(bench, plan, results)


async def warm_up(bench: Bench, seed: int, events: int = WARM_UP_EVENTS) -> None:
    """Let walletq drain a log, again and again.

    Raises:
        Wrong, Stalled: it does not come to its end.
    """
    log = await asyncio.to_thread(make_log, seed, events)
    for _ in range(WARM_UPS):
        await drain(bench, Walletq(), log)


async def _drains(bench: Bench, plan: Plan, running: Running, results: Results) -> None:
    log = await _log(plan, plan.events)
    for name, part in PARTS.items():
        results.floors.append(await _tried(part.title, floor(bench, name, log)))
    short = await _log(plan, min(OWN_WARM_UP_EVENTS, plan.events))
    fast: list[tuple[Row, Contender]] = []
    for row, contender in running:
        warm = await _tried(f"warming up: {row.name}", drain(bench, contender, short))
        if isinstance(warm, Drain) and warm.events_per_second * LONGEST_SECONDS < plan.events:
            shorter = await _log(plan, round(warm.events_per_second * LONGEST_SECONDS))
            row.drain = await _tried(f"drain: {row.name}", drain(bench, contender, shorter))
        else:
            fast.append((row, contender))
    drains = [(f"drain: {row.name}", partial(drain, bench, contender, log)) for row, contender in fast]
    for (row, _), drained in zip(fast, await _in_turn(drains), strict=True):
        row.drain = drained


async def _in_turn(drains: Sequence[tuple[str, Callable[[], Awaitable[Drain]]]]) -> Sequence[Drain | Failed]:
    """The middle one of each, made in rounds: what changes from minute to minute meets all of them."""
    made: list[list[Drain | Failed]] = [[] for _ in drains]
    for _ in range(ROUNDS):
        for (what, one), ones in zip(drains, made, strict=True):
            ones.append(await _tried(what, one()))
    return [middle(ones) for ones in made]


async def _latencies(bench: Bench, plan: Plan, running: Running, results: Results) -> None:
    if plan.rates:
        rate = max(plan.rates)
        log = await _log(plan, PRELUDE + round(rate * WARM_UP_SECONDS))
        await _tried(f"warming up: {rate:g}/s", latency(bench, Walletq(), log, rate))
    for rate in sorted(plan.rates):
        log = await _log(plan, PRELUDE + round(rate * plan.seconds))
        for row, contender in running:
            if _keeps_up(row.latency):
                row.latency.append(await _tried(f"{rate:g}/s: {row.name}", latency(bench, contender, log, rate), rate))
            if isinstance(contender, Walletq) and _keeps_up(row.mail):
                row.mail.append(await _tried(f"{rate:g}/s: {row.name} to mail", mail_latency(bench, log, rate), rate))
        lowest = [Foreknown(log, commits=commits) for commits in (True, False)]
        results.latency_floors = results.latency_floors or [Row(one.name) for one in lowest]
        for row, one in zip(results.latency_floors, lowest, strict=True):
            row.latency.append(await _tried(f"{rate:g}/s: {one.name}", latency(bench, one, log, rate), rate))


def _keeps_up(measured: Sequence[Latency | Failed]) -> bool:
    """Who falls behind at a rate is not asked for a higher one."""
    return all(isinstance(one, Latency) and one.falls_behind_by is None for one in measured)


async def _restarts(bench: Bench, plan: Plan, running: Running) -> None:
    log = await _log(plan, PRELUDE + round(RATE * SCHEDULE_SECONDS))
    for row, contender in running:
        row.restart = await _tried(f"kill -9 and restart: {row.name}", restart(bench, contender, log))
        row.takeover = await _tried(f"kill -9 and takeover: {row.name}", takeover(bench, contender, log))


async def _scales(bench: Bench, plan: Plan, results: Results) -> None:
    for sizes in kinds(bench, plan.events, plan.seed, await _log(plan, plan.events)):
        drains = await _in_turn([(f"scale: {size.name}", size.drain) for size in sizes])
        first: tuple[str, Drain] | None = None
        for size, drained in zip(sizes, drains, strict=True):
            if isinstance(drained, Failed):
                results.scales.append(drained)
                continue
            first = first or (size.name, drained)
            ratio = drained.events_per_second / first[1].events_per_second
            results.scales.append(Scale(size.name, first[0], ratio, drained))


async def _log(plan: Plan, events: int) -> Log:
    return await asyncio.to_thread(make_log, plan.seed, events)


async def _tried(what: str, measurement: Awaitable[Result], rate: float | None = None) -> Result | Failed:
    _tell(what)
    try:
        return await measurement
    except Exception as error:  # noqa: BLE001 - whatever it is, the others are measured
        why = str(error) if isinstance(error, (Wrong, Stalled)) else f"{type(error).__name__}: {error}"
        _tell("\n".join([f"{what}: {why}", *getattr(error, "__notes__", ())]))
        return Failed(why, rate, told_wrong=isinstance(error, Wrong))


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")
