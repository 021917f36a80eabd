"""How fast wallets go and come back, and what that means for those who wait."""

from dataclasses import dataclass

import asyncpg

from storage.sql import read_queries

SQL = read_queries("operations")

RECENT_SECONDS = 3_600.0
RECENT_ASSIGNMENTS = 2_000
"Lately: in the last hour, but no more than the last so many assignments of the pool's partition."
SHORTEST_SECONDS = 60.0
"What happened in less says nothing of a pace."

_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60))


@dataclass(frozen=True)
class Pace:
    """What a pool did in some seconds."""

    seconds: float
    assigned: int
    "Wallets given to orders,"
    waited: int
    "and how many of these orders had waited."
    released: int
    "Wallets that orders gave back."
    wait_p50_seconds: float | None = None
    wait_p95_seconds: float | None = None
    "How long those had waited that did."

    def per_hour(self, count: int) -> float:
        """The count as a pace."""
        return count * 3_600 / max(self.seconds, SHORTEST_SECONDS)

    @property
    def waited_share(self) -> float | None:
        """Which share of the orders that got a wallet had to wait for it."""
        return self.waited / self.assigned if self.assigned else None


async def read_paces(connection: asyncpg.Connection, topic: str) -> dict[tuple[str, str], Pace]:
    """What each pool did lately, by (currency, network); `topic` is the orders'."""
    async with connection.transaction():
        # What lately is, the planner cannot know: it would rather read all assignments there ever were.
        await connection.execute(SQL["by_index_only"])
        rows = await connection.fetch(SQL["pool_paces"], topic, RECENT_SECONDS, RECENT_ASSIGNMENTS)
    fields = Pace.__dataclass_fields__
    return {(row["currency"], row["network"]): Pace(**{name: row[name] for name in fields}) for row in rows}


def runway_seconds(free: int, pace: Pace | None) -> float | None:
    """For how long the free wallets last, if as many go and come back as lately; None: they do not get fewer, or nobody
    knows."""
    if free == 0:
        return 0.0
    if pace is None or pace.assigned <= pace.released:
        return None
    return free * max(pace.seconds, SHORTEST_SECONDS) / (pace.assigned - pace.released)


def runway_words(free: int, pace: Pace | None) -> str:
    """The same, as short as a column of a table wants it."""
    if free == 0:
        return "none free"
    seconds = runway_seconds(free, pace)
    if seconds is not None:
        return about(seconds).removeprefix("about ")
    return "no orders" if pace is None or not pace.assigned else "steady"


def expected_wait_seconds(ahead: int, pace: Pace | None) -> float | None:
    """How long until as many who wait have got a wallet, and the one behind them; None: nobody got one lately."""
    if pace is None or not pace.waited:
        return None
    return (ahead + 1) * max(pace.seconds, SHORTEST_SECONDS) / pace.waited


def about(seconds: float) -> str:
    """A duration as one says it: `about 40 minutes`."""
    if seconds < 60:
        return "under a minute"
    for name, unit in _UNITS:
        if seconds >= unit * (1 if unit == 60 else 2):
            count = round(seconds / unit)
            return f"about {count:,} {name}{'' if count == 1 else 's'}"
    raise AssertionError("a minute is the smallest unit")


def exactly(seconds: float) -> str:
    """A duration in its two largest units: `3 min 20 s`."""
    parts = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)]
    left = max(0, int(seconds))
    said: list[str] = []
    for name, unit in parts:
        count, left = divmod(left, unit)
        if count or (name == "s" and not said):
            said.append(f"{count} {name}")
    return " ".join(said[:2])
