"""The one table: every contender, the floors, and what walletq makes of each."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.results import Drain, Failed, Floor, Latency, Pause, Results, Row, Scale

WIDTH = 200
NONE = ""
WRONG, FAILED = "[bold red]WRONG[/]", "[bold red]FAILED[/]"


def print_table(results: Results, console: Console) -> None:
    """Print it, with what went wrong below it."""
    measured = [one for row in (*results.contenders, *results.latency_floors) for one in (*row.latency, *row.mail)]
    rates = sorted({one.rate for one in measured if one.rate is not None})
    table = Table(title=_title(results), caption=_caption(rates), caption_justify="left")
    table.add_column("", no_wrap=True)
    for heading in ("events/s", "walletq is", "from start", "CPU µs", "Kafka + PG µs", "peak MB"):
        table.add_column(heading, justify="right")
    for rate in rates:
        table.add_column(f"{rate:,.0f}/s", justify="right")
    table.add_column("after kill -9", justify="right")
    own = _own_speed(results)
    for row in results.contenders:
        table.add_row(
            row.name, *_drain_cells(row, own), *(_latency_cell(row.latency, rate) for rate in rates), _back(row)
        )
        if row.mail:
            blanks = [NONE] * 6
            table.add_row("  to mail", *blanks, *(_latency_cell(row.mail, rate) for rate in rates), NONE)
    table.add_section()
    for floor in results.floors:
        if isinstance(floor, Floor):
            table.add_row(*_floor_cells(floor, own))
    for row in results.latency_floors:
        table.add_row(row.name, *[NONE] * 6, *(_latency_cell(row.latency, rate) for rate in rates))
    table.add_section()
    for scale in results.scales:
        if isinstance(scale, Scale):
            table.add_row(*_scale_cells(scale))
    console.print(table)
    for line in _remarks(results):
        console.print(line, markup=False, highlight=False)


def _own_speed(results: Results) -> float | None:
    """Walletq's, the first of the contenders'."""
    drains = (row.drain for row in results.contenders if row.name == "walletq")
    return next((one.events_per_second for one in drains if isinstance(one, Drain)), None)


def _drain_cells(row: Row, own: float | None) -> Sequence[str]:
    drain = row.drain
    if row.why_not is not None:
        return "not run", *[NONE] * 5
    if drain is None:
        return [NONE] * 6
    if isinstance(drain, Failed):
        return _failed(drain), *[NONE] * 5
    wrong = f"{WRONG} " if drain.wrong is not None else NONE
    return (
        f"{wrong}{drain.events_per_second:,.0f}",
        times(own, drain.events_per_second),
        f"{drain.events_per_second_with_start:,.0f}",
        f"{drain.cpu_us_per_event:.1f}",
        f"{sum(drain.servers_cpu_us_per_event.values()):.1f}",
        f"{sum(one.most_mb for one in drain.memory):,.0f}",
    )


def _failed(one: Failed) -> str:
    return WRONG if one.told_wrong else FAILED


def _floor_cells(floor: Floor, own: float | None) -> Sequence[str]:
    return (
        floor.name,
        f"{floor.events_per_second:,.0f}",
        times(own, floor.events_per_second),
        NONE,
        f"{floor.cpu_us_per_event:.1f}",
        f"{sum(floor.servers_cpu_us_per_event.values()):.1f}",
        f"{floor.peak_mb:,.0f}",
    )


def _scale_cells(scale: Scale) -> Sequence[str]:
    speed, _, *others = _drain_cells(Row(scale.name, drain=scale.drain), None)
    return f"walletq, {scale.name}", speed, f"{scale.ratio:.2f} × {scale.beside.split()[0]}", *others


def times(own: float | None, other: float) -> str:
    """What walletq makes of another's speed."""
    return NONE if own is None else f"{own / other:.2f} ×"


def _latency_cell(measured: Iterable[Latency | Failed], rate: float) -> str:
    for one in measured:
        if one.rate != rate:
            continue
        if isinstance(one, Failed):
            return _failed(one)
        if one.falls_behind_by is not None:
            return f"behind, {one.falls_behind_by:,.0f}/s"
        wrong = f"{WRONG} " if one.wrong is not None else NONE
        return f"{wrong}{one.p50_ms:.1f} / {one.p99_ms:.1f} / {one.max_ms:.0f}"
    return NONE


def _back(row: Row) -> str:
    return ", ".join(_pause(one) for one in (row.restart, row.takeover) if one is not None)


def _pause(one: Pause | Failed) -> str:
    if isinstance(one, Failed):
        return _failed(one)
    wrong = f"{WRONG} " if one.wrong is not None else NONE
    return f"{wrong}{one.seconds:.1f} s"


def _title(results: Results) -> str:
    machine = results.machine
    return (
        f"{results.options['events']:,} events on {machine['cores']} cores that all share; "
        f"Kafka {machine['kafka']}, PostgreSQL {machine['postgresql']}, Python {machine['python']}"
    )


def _caption(rates: Sequence[float]) -> str:
    latency = "Latency at a rate: p50 / p99 / longest, in milliseconds. " if rates else ""
    return (
        "events/s: the median of three drains; who would take longer than a minute drains a shorter log, once. "
        f"CPU is for each event. {latency}After kill -9: the same member restarted, another member took over."
    )


def _remarks(results: Results) -> Iterable[str]:
    for row in (*results.contenders, *results.latency_floors):
        if row.why_not is not None:
            yield f"{row.name} cannot run here: {row.why_not}"
        for measurement, wrong in row.wrongs:
            yield f"{row.name}, {measurement}: {wrong}"
    for floor in results.floors:
        if isinstance(floor, Failed):
            yield f"a floor: {floor.wrong}"
    for scale in results.scales:
        if isinstance(scale, Failed):
            yield f"scale: {scale.wrong}"
        elif scale.drain.wrong is not None:
            yield f"{scale.name}: {scale.drain.wrong}"
