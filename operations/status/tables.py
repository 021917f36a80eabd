"""The status as tables and as JSON."""

from dataclasses import asdict
from typing import Any

from operations.pace import runway_seconds
from operations.status.facts import Pool, Status
from operations.terminal import Grid

PACE_COLUMNS = ("given/h", "back/h", "waited", "wait p50", "wait p95")


def as_document(status: Status) -> dict[str, Any]:
    """The status for JSON: what is computed from a pace stands beside it."""
    document = asdict(status)
    for pool, told in zip(status.pools, document["pools"], strict=True):
        told["runway_seconds"] = runway_seconds(pool.free, pool.pace)
        if pool.pace is not None:
            told["pace"]["assigned_per_hour"] = pool.pace.per_hour(pool.pace.assigned)
            told["pace"]["released_per_hour"] = pool.pace.per_hour(pool.pace.released)
            told["pace"]["waited_share"] = pool.pace.waited_share
    return document


def grids(status: Status) -> list[Grid]:
    """The status as tables."""
    columns = [
        "currency",
        "network",
        "alert",
        "free",
        "occupied",
        "cooling",
        "retired",
        "waiting",
        "oldest",
        "lasts about",
    ]
    used = [partition for partition in status.partitions if partition.end_offset or partition.next_offset]
    return [
        Grid(
            "Pools",
            columns,
            [
                (p.currency, p.network, p.alert, p.free, p.occupied, p.cooling, p.retired, p.waiting, _age(p), p.runway)
                for p in status.pools
            ],
        ),
        Grid(
            "Lately",
            ("currency", "network", *PACE_COLUMNS),
            [(p.currency, p.network, *pace_cells(p)) for p in status.pools],
        ),
        Grid(
            f"Partitions ({len(status.partitions) - len(used)} empty ones left out)",
            ["topic", "partition", "end", "next", "lag", "unpublished", "applied", "no_effect", "dead_letters"],
            [tuple(asdict(partition).values()) for partition in used],
        ),
        Grid("Deliveries", ("state", "mails"), list(status.deliveries.items())),
        Grid(
            "Dead letters",
            ("topic", "reason", "records"),
            [(topic, *item) for topic, reasons in status.dead_letters.items() for item in reasons.items()],
        ),
    ]


def pace_cells(pool: Pool) -> tuple[object, ...]:
    """What the pool did lately, under PACE_COLUMNS."""
    if (pace := pool.pace) is None:
        return (None,) * len(PACE_COLUMNS)
    share = pace.waited_share
    return (
        round(pace.per_hour(pace.assigned)),
        round(pace.per_hour(pace.released)),
        None if share is None else f"{share:.0%}",
        clock(pace.wait_p50_seconds),
        clock(pace.wait_p95_seconds),
    )


def clock(seconds: float | None) -> str | None:
    """Hours, minutes and seconds."""
    if seconds is None:
        return None
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _age(pool: Pool) -> str | None:
    return clock(pool.oldest_waiting_seconds)
