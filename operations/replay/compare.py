"""The replayed state against the database, row by row: two cursors in the same order, merged."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import asyncpg

from consumers.allocator.state import Counts, Order, Wallet
from consumers.messages import partition_of
from operations.replay.inputs import SQL, Inputs
from operations.replay.replaying import Replay, Scope
from operations.replay.state import Row

SHOWN_ROWS, SHOWN_COLUMNS = 5, 3
"So many rows of each table are shown, and so many columns of each; how many differ is counted."
CHUNK = 5_000
LONGEST = 80

Kind = Literal["missing", "extra", "differs"]


@dataclass(frozen=True)
class Table:
    """What is compared of a table.

    Attributes:
        columns: the key's first.
        key: how many columns are the key.
        hidden: columns that may hold personal data: that they differ is said, not how.
    """

    name: str
    columns: tuple[str, ...]
    key: int
    hidden: frozenset[str] = frozenset()


ORDERS = Table("orders", tuple(f.name for f in fields(Order)), 2, frozenset({"email", "reason", "actor"}))
WALLETS = Table("wallets", tuple(f.name for f in fields(Wallet)), 3)
ASSIGNMENTS = Table(
    "assignments",
    (
        "partition",
        "assigned_offset",
        "assignment_id",
        "released_offset",
        *("currency", "network", "address", "order_id", "waited", "assigned_at", "released_at"),
    ),
    2,
)
DEAD_LETTERS = Table(
    "dead_letters",
    (
        "partition",
        "offset",
        *("reason", "message", "record_at", "key", "value", "value_length", "value_sha256", "traceparent"),
    ),
    2,
    frozenset({"key", "value", "value_sha256"}),
)
PARTITIONS = Table("partitions", ("partition", *Counts._fields), 1)


class Words(NamedTuple):
    """How a difference is told: of a row that only the replay has, that only the database has, and of a column."""

    missing: str
    extra: str
    differs: str


AUDIT = Words(
    "replay has it, the database does not",
    "the database has it, replay does not",
    "replay says {replay}, the database has {database}",
)


@dataclass(frozen=True)
class Difference:
    """A row that only the replay has (missing) or only the database (extra), or a column that differs.

    Attributes:
        column, replay, database: where a column differs; no contents where it may hold personal data.
    """

    kind: Kind
    key: str
    column: str | None = None
    replay: str | None = None
    database: str | None = None

    def as_text(self, words: Words = AUDIT) -> str:
        """On one line, without the table."""
        if self.kind != "differs":
            return f"{self.key}: {words.missing if self.kind == 'missing' else words.extra}"
        if self.replay is None:
            return f"{self.key}: {self.column} differs"
        return f"{self.key}: {self.column}: {words.differs.format(replay=self.replay, database=self.database)}"


@dataclass
class Compared:
    """What the comparison of a table came to.

    Attributes:
        replayed, stored: rows on either side.
        missing: rows that only the replay has.
        extra: rows that only the database has.
        differing: rows that both have, differently.
        columns: how often each column differs.
        differences: those of the first few rows.
    """

    table: Table
    replayed: int = 0
    stored: int = 0
    missing: int = 0
    extra: int = 0
    differing: int = 0
    columns: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Whether both sides are the same."""
        return not (self.missing or self.extra or self.differing)

    def take(self, replayed: Row | None, stored: Row | None) -> None:
        """A row of either side, or one of both with the same key."""
        self.replayed += replayed is not None
        self.stored += stored is not None
        if replayed == stored:
            return
        if replayed is None or stored is None:
            missing = stored is None
            self.missing += missing
            self.extra += not missing
            self._show("missing" if missing else "extra", replayed or stored or ())
            return
        self.differing += 1
        differing = [
            (column, *(() if column in self.table.hidden else (shown(ours), shown(theirs))))
            for column, ours, theirs in zip(self.table.columns, replayed, stored, strict=True)
            if ours != theirs
        ]
        self.columns.update(column for column, *_ in differing)
        self._show("differs", replayed, *differing[:SHOWN_COLUMNS])

    def _show(self, kind: Kind, row: Row, *columns: tuple[str, ...]) -> None:
        if self.missing + self.extra + self.differing <= SHOWN_ROWS:
            key = "/".join(shown(part) for part in row[: self.table.key])
            self.differences += [Difference(kind, key, *column) for column in columns or [()]]


async def compare(replay: Replay, inputs: Inputs, connection: asyncpg.Connection) -> list[Compared]:
    """Every table, in the transaction of this connection.

    Args:
        replay: advanced to the places of `inputs`, which are of the same transaction.
    """
    state, scope, topic = replay.state, replay.scope, replay.topic
    own = _own_currencies(replay, inputs)

    def of_currency(row: Row) -> Row | None:
        return row if own(row[0]) else None

    def of_place(row: Row) -> Row | None:
        return row if scope.has(row[0]) and _in_range(scope, row[1]) else None

    def of_assignment(row: Row) -> Row | None:
        return as_of(scope, row)

    compared = []
    if not scope.is_range:  # else the rows have moved on since, or are not where the range begins
        compared += [
            _compare_partitions(replay, inputs),
            await _merge(ORDERS, of_currency, state.orders(), _stored(connection, SQL["orders"])),
            await _merge(WALLETS, of_currency, state.wallets(), _stored(connection, SQL["wallets"])),
        ]
    return [
        *compared,
        await _merge(ASSIGNMENTS, of_assignment, state.assignments(), _stored(connection, SQL["assignments"])),
        await _merge(DEAD_LETTERS, of_place, state.dead_letters(), _stored(connection, SQL["dead_letters"], topic)),
    ]


def as_of(scope: Scope, assignment: Row) -> Row | None:
    """The assignment as it was at the end of the range; None where it neither began nor ended within."""
    partition, assigned_offset, name, released_offset, *rest, released_at = assignment
    if scope.end is not None and released_offset is not None and released_offset >= scope.end:
        released_offset = released_at = None
    in_range = _in_range(scope, assigned_offset) or (released_offset is not None and released_offset >= scope.start)
    if not scope.has(partition) or not in_range or (scope.end is not None and assigned_offset >= scope.end):
        return None
    return (partition, assigned_offset, name, released_offset, *rest, released_at)


def shown(content: object) -> str:
    """A column's content on one line, shortened."""
    if content is None:
        return "nothing"
    if isinstance(content, datetime):
        return content.astimezone(UTC).isoformat().replace("+00:00", "Z")
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(content))
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _in_range(scope: Scope, offset: int) -> bool:
    return offset >= scope.start and (scope.end is None or offset < scope.end)


def _own_currencies(replay: Replay, inputs: Inputs) -> Callable[[str], bool]:
    """Whether a currency's partition is in the scope."""
    counts = [row["partition_count"] for row in inputs.rows.values()]
    count = counts[0] if counts else replay.log.partitions[replay.topic]
    known: dict[str, bool] = {}

    def own(currency: str) -> bool:
        if currency not in known:
            known[currency] = replay.scope.has(partition_of(currency.encode(), count))
        return known[currency]

    return own


def _compare_partitions(replay: Replay, inputs: Inputs) -> Compared:
    compared = Compared(PARTITIONS)
    for at, row in inputs.rows.items():
        if replay.scope.has(at):
            stored = tuple(row[name] for name in Counts._fields)
            compared.take((at, *replay.counts.get(at, Counts())), (at, *stored))
    return compared


async def _stored(connection: asyncpg.Connection, query: str, *arguments: object) -> AsyncIterator[list[Row]]:
    """The rows of a query in chunks, through a cursor of the server."""
    cursor = await connection.cursor(query, *arguments)
    while rows := await cursor.fetch(CHUNK):
        yield list(map(tuple, rows))


async def _merge(
    table: Table,
    wanted: Callable[[Row], Row | None],
    replayed: Iterator[Row],
    stored: AsyncIterator[list[Row]],
) -> Compared:
    compared = Compared(table)
    key = table.key
    rows = _wanted(wanted, replayed)
    ours = next(rows, None)
    async for chunk in stored:
        for theirs in _wanted(wanted, chunk):
            while ours is not None and ours[:key] < theirs[:key]:
                compared.take(ours, None)
                ours = next(rows, None)
            if ours is not None and ours[:key] == theirs[:key]:
                compared.take(ours, theirs)
                ours = next(rows, None)
            else:
                compared.take(None, theirs)
    while ours is not None:
        compared.take(ours, None)
        ours = next(rows, None)
    return compared


def _wanted(wanted: Callable[[Row], Row | None], rows: Iterable[Row]) -> Iterator[Row]:
    return (row for row in map(wanted, rows) if row is not None)
