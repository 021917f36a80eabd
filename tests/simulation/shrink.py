"""The shortest plan that still fails: takes away of the log, the faults and the moves what the failure does not need.

Source: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002), without its complements.
"""

from collections.abc import Callable
from typing import Any

from tests.simulation.plan import Plan

MOST_ATTEMPTS = 1_500


def shrink(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    """A plan with as few items, faults and moves as can be found, for which `fails` still says True."""
    attempts = 0
    while True:
        before = plan
        for part in ("moves", "faults", "log"):
            size = max(1, len(getattr(plan, part)) // 2)
            while size:
                start = 0
                while start < len(getattr(plan, part)):
                    attempts += 1
                    if attempts > MOST_ATTEMPTS:
                        return plan
                    shorter = _without(plan, part, start, size)
                    if fails(shorter):
                        plan = shorter
                    else:
                        start += size
                size //= 2
        if plan == before:
            return plan


def _without(plan: Plan, part: str, start: int, size: int) -> Plan:
    kept: tuple[Any, ...] = getattr(plan, part)
    shorter: dict[str, Any] = {part: kept[:start] + kept[start + size :]}
    return plan._replace(**shorter)
