"""What the fault tests have measured and counted, at the end of a test session."""

from collections import defaultdict
from collections.abc import Iterable
from statistics import median

from tests.faults.recovery import Recovery

PROPERTY = "recovery"
"The property of a test report that holds one: (fault, applied, mailed)."

COUNTED = "counted"
"The property that holds a line of counts."

Measured = tuple[str, float, float]


def measured(name: str, recovery: Recovery) -> Measured:
    """What can travel in a test report."""
    return name, round(recovery.applied, 2), round(recovery.mailed, 2)


def table(times: Iterable[Measured]) -> list[str]:
    """A line for each kind of fault."""
    by_name: dict[str, list[Measured]] = defaultdict(list)
    for one in times:
        by_name[one[0]].append(one)
    if not by_name:
        return []
    width = max(44, *(len(name) for name in by_name))
    lines = [
        f"{'seconds from the end of the fault until new':<{width}}   n     published        mailed",
        f"{'events are published and mailed':<{width}}       median   max  median   max",
    ]
    for name, rows in sorted(by_name.items()):
        figures = [f(column) for column in ([row[1] for row in rows], [row[2] for row in rows]) for f in (median, max)]
        lines.append(f"{name:<{width}}{len(rows):>4}  " + "  ".join(f"{figure:>5.1f}" for figure in figures))
    return lines
