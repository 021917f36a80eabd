"""The status on one screen of a terminal of 80 columns."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from operations.status.facts import Partition, Pool, Status
from operations.status.tables import PACE_COLUMNS, clock, pace_cells
from operations.terminal import ALERT_STYLES, printable

WIDE = 120
"With so many columns, what a pool is and what it did are one table."
SHOWN_PARTITIONS = 6
DELIVERY_STYLES = {"failed": "red", "held": "yellow", "due": "yellow"}


def view(status: Status | None, width: int, problem: str | None = None) -> RenderableType:
    """The status, for a terminal of so many columns.

    Args:
        status: the last that is known, if any is.
        problem: why there is no newer one.
    """
    if status is None:
        return Text(printable(problem or ""), style="red")
    warning = [Text(printable(f"{problem} What follows is old."), style="red"), Text()] if problem else []
    title = Text.assemble(("walletq", "bold"), f"  {status.at:%Y-%m-%d %H:%M:%S}Z", ("   Ctrl-C ends", "dim"))
    pools = (
        [_pools(status.pools, with_paces=True)]
        if width >= WIDE
        else [_pools(status.pools, with_paces=False), Text(), _paces(status.pools)]
    )
    return Group(
        *warning, title, Text(), *pools, Text(), *_partitions(status.partitions), _mails(status), *_dead_letters(status)
    )


def _pools(pools: Iterable[Pool], *, with_paces: bool) -> Table:
    table = _table("pool", "alert", ">free", ">occupied", ">cooling", ">waiting", ">oldest", ">lasts about")
    if with_paces:
        _add_columns(table, [f">{name}" for name in PACE_COLUMNS])
    for pool in pools:
        style = ALERT_STYLES[pool.alert]
        cells = [
            Text(printable(f"{pool.currency}/{pool.network}")),
            Text(pool.alert, style=style),
            Text(f"{pool.free:,}", style=style),
            *(Text(f"{count:,}" if count else "", style="default") for count in (pool.occupied, pool.cooling)),
            Text(f"{pool.waiting:,}" if pool.waiting else "", style="bold"),
            Text(clock(pool.oldest_waiting_seconds) or ""),
            Text(pool.runway, style=style if pool.alert != "OK" else ""),
        ]
        table.add_row(*cells, *(_texts(pace_cells(pool)) if with_paces else []))
    return table


def _paces(pools: Iterable[Pool]) -> RenderableType:
    table = _table("lately", *(f">{name}" for name in PACE_COLUMNS))
    lately = [pool for pool in pools if pool.pace is not None]
    for pool in lately:
        table.add_row(Text(printable(f"{pool.currency}/{pool.network}")), *_texts(pace_cells(pool)))
    return table if lately else Text("No wallet was given or came back in the last hour.", style="dim")


def _partitions(partitions: Iterable[Partition]) -> list[RenderableType]:
    behind = [one for one in partitions if one.lag or one.unpublished or (one.lag is None and one.next_offset)]
    if not behind:
        return [Text("Everything that has come is applied and published.", style="green")]
    table = _table("behind", ">lag", ">unpublished")
    for one in sorted(behind, key=lambda one: one.lag or 0, reverse=True)[:SHOWN_PARTITIONS]:
        lag = Text("Kafka does not answer", style="red") if one.lag is None else Text(f"{one.lag:,}")
        table.add_row(Text(printable(f"{one.topic}/{one.partition}")), lag, Text(f"{one.unpublished:,}"))
    more = len(behind) - SHOWN_PARTITIONS
    return [table, Text(), *([Text(f"and {more} more partitions", style="dim")] if more > 0 else [])]


def _mails(status: Status) -> Text:
    if not status.deliveries:
        return Text("Mails: none yet")
    told = [(f"{count:,} {state}", DELIVERY_STYLES.get(state, "")) for state, count in status.deliveries.items()]
    return Text("Mails: ").append(Text(", ").join(Text(text, style=style) for text, style in told))


def _dead_letters(status: Status) -> Iterable[Text]:
    for topic, reasons in status.dead_letters.items():
        told = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
        yield Text(printable(f"Dead letters of {topic}: {told}"), style="yellow")


def _table(*columns: str) -> Table:
    """A table without a frame; a column whose name begins with > is of numbers."""
    table = Table(box=None, pad_edge=False, collapse_padding=True, header_style="bold underline")
    _add_columns(table, columns)
    return table


def _add_columns(table: Table, columns: Iterable[str]) -> None:
    for column in columns:
        is_number = column.startswith(">")
        table.add_column(column.removeprefix(">"), justify="right" if is_number else "left", no_wrap=True)


def _texts(cells: Iterable[object]) -> list[Text]:
    return [Text("" if cell is None else str(cell)) for cell in cells]
