"""What is measured, and how it is written down."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.meters import Memory


@dataclass(frozen=True)
class Failed:
    """A measurement that did not come to its end: the contender died, or stood still.

    Attributes:
        wrong: why.
        rate: of a latency.
        told_wrong: it had told orders what it must not, and that is what `wrong` says.
    """

    wrong: str
    rate: float | None = None
    told_wrong: bool = False


@dataclass(frozen=True)
class Drain:
    """A backlog, drained. An event is one of the log, with all that it leads to.

    Attributes:
        events_per_second: from the first notification to the last.
        events_per_second_by_fifth: the same while each fifth of the notifications arrived: a runtime warms up.
        events_per_second_with_start: from the start of the process to the last notification.
        cpu_us_per_event: processor time of the contender from the first notification to the last, for each event.
        cpu_us_per_event_with_start: the same from the start of the process.
        servers_cpu_us_per_event: of Kafka and PostgreSQL, from the first notification to the last, by name.
        observer_cpu_us_per_event: what the measuring itself took.
        memory: of the contender's processes at the end.
        memory_mb_by_fifth: all of them together at the end of each fifth of the notifications.
        servers_memory: of Kafka; PostgreSQL's processes share theirs.
        speeds: events_per_second of all the drains of which this is the middle one; memory is of that which had most.
        wrong: the first difference from what must be; None where there is none.
    """

    events: int
    notifications: int
    repeated: int
    seconds: float
    seconds_to_first: float
    events_per_second: float
    events_per_second_by_fifth: Sequence[float]
    events_per_second_with_start: float
    cpu_us_per_event: float
    cpu_us_per_event_with_start: float
    servers_cpu_us_per_event: Mapping[str, float]
    observer_cpu_us_per_event: float
    memory: Sequence[Memory]
    memory_mb_by_fifth: Sequence[float]
    servers_memory: Sequence[Memory]
    wrong: str | None
    speeds: Sequence[float] = ()


def middle(drains: Sequence[Drain | Failed]) -> Drain | Failed:
    """Of drains of the same log the one with the median speed, but with the memory of that which had most; or the first
    that failed or was wrong."""
    whole: list[Drain] = []
    for one in drains:
        if isinstance(one, Failed) or one.wrong is not None:
            return one
        whole.append(one)
    by_speed = sorted(whole, key=lambda drain: drain.events_per_second)
    most = max(whole, key=lambda drain: sum(memory.most_mb for memory in drain.memory))
    return replace(
        by_speed[len(by_speed) // 2],
        memory=most.memory,
        memory_mb_by_fifth=most.memory_mb_by_fifth,
        speeds=[one.events_per_second for one in whole],
    )


@dataclass(frozen=True)
class Latency:
    """From the time at which an event is due to be sent to what it leads to, under an open load.

    Attributes:
        rate: events a second.
        seconds: of the load.
        measured: how many latencies there are.
        falls_behind_by: events a second by which the backlog grew; None where it did not.
        late_p99_ms, late_max_ms: how late the events themselves were sent: part of the latencies.
        cpu_us_per_event, servers_cpu_us_per_event: while the load lasted.
        not_led_to: of mails: how many assignments had ended before their mail was written.
    """

    rate: float
    seconds: float
    measured: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    falls_behind_by: float | None
    late_p99_ms: float
    late_max_ms: float
    cpu_us_per_event: float
    servers_cpu_us_per_event: Mapping[str, float]
    repeated: int
    not_led_to: int
    wrong: str | None


@dataclass(frozen=True)
class Pause:
    """How long after kill -9 it took until an event that was due after it led to a notification.

    Attributes:
        seconds: until every partition had one.
        shortest_seconds: until one had.
        repeated: notifications that said again what had been said.
        wrong: something was lost or changed.
    """

    rate: float
    seconds: float
    shortest_seconds: float
    repeated: int
    wrong: str | None


@dataclass(frozen=True)
class Floor:
    """The speed of a part of the job, alone."""

    name: str
    events: int
    seconds: float
    events_per_second: float
    cpu_us_per_event: float
    servers_cpu_us_per_event: Mapping[str, float]
    peak_mb: float


@dataclass(frozen=True)
class Scale:
    """Walletq's speed with a state of some size.

    Attributes:
        name: the size.
        beside: the name of that with which it is compared: the same traffic, another size.
        ratio: its events a second, divided by that one's.
    """

    name: str
    beside: str
    ratio: float
    drain: Drain


@dataclass
class Row:
    """All that is known of a contender."""

    name: str
    versions: Mapping[str, str] = field(default_factory=dict)
    why_not: str | None = None
    drain: Drain | Failed | None = None
    latency: list[Latency | Failed] = field(default_factory=list)
    mail: list[Latency | Failed] = field(default_factory=list)
    restart: Pause | Failed | None = None
    takeover: Pause | Failed | None = None

    @property
    def wrongs(self) -> list[tuple[str, str]]:
        """What went wrong in which measurement."""
        found = [
            ("drain", self.drain),
            *((f"{one.rate:g}/s", one) for one in self.latency),
            *((f"mail at {one.rate:g}/s", one) for one in self.mail),
            ("restart", self.restart),
            ("takeover", self.takeover),
        ]
        return [(name, one.wrong) for name, one in found if one is not None and one.wrong is not None]


@dataclass
class Results:
    """One run on one machine."""

    machine: Mapping[str, Any]
    options: Mapping[str, Any]
    contenders: list[Row] = field(default_factory=list)
    floors: list[Floor | Failed] = field(default_factory=list)
    latency_floors: list[Row] = field(default_factory=list)
    scales: list[Scale | Failed] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """As JSON, every raw figure."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(plain(asdict(self)), indent=2, ensure_ascii=False) + "\n")


def plain(value: Any) -> Any:
    """For JSON: named tuples as objects, numbers with digits that mean something."""
    if isinstance(value, Memory):
        return plain(value._asdict())
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return round(value, 3) if isinstance(value, float) else value
