"""What can be said of arrivals: how long things took, and whether they take longer and longer."""

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

LEAST_SLOPE, LEAST_GROWTH = 0.02, 0.1
"Of a delay that grows: seconds a second, and seconds between the halves of a run. Less is chance."


class Arrival(NamedTuple):
    """Something has arrived."""

    at: int
    "Nanoseconds of the monotonic clock, which all processes of a machine share."
    key: bytes | None
    value: bytes | None


class Delay(NamedTuple):
    """Nanoseconds of the monotonic clock."""

    due: int
    at: int


def first_arrivals(arrivals: Iterable[Arrival]) -> dict[bytes | None, int]:
    """When the first of each key arrived."""
    firsts: dict[bytes | None, int] = {}
    for arrival in arrivals:
        firsts.setdefault(arrival.key, arrival.at)
    return firsts


def falls_behind_by(delays: Sequence[Delay], rate: float) -> float | None:
    """How many of `rate` events a second are not done in their second; None where the delay does not grow.

    Where m of n events a second are done, the delay grows by n/m - 1 seconds a second.

    Args:
        delays: in the order in which they were due.
        rate: at which events were due.
    """
    middle = len(delays) // 2
    if middle == 0:
        return None
    earlier, later = delays[:middle], delays[middle:]
    passed = (statistics.median(one.due for one in later) - statistics.median(one.due for one in earlier)) / 1e9
    grown = (statistics.median(map(_length, later)) - statistics.median(map(_length, earlier))) / 1e9
    if grown < max(LEAST_GROWTH, LEAST_SLOPE * passed):
        return None
    slope = grown / passed
    return rate * slope / (1 + slope)


def _length(delay: Delay) -> int:
    return delay.at - delay.due


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that is not below `share` percent of all (nearest rank)."""
    return ordered[max(0, math.ceil(len(ordered) * share / 100) - 1)]
