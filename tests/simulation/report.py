"""What many plans came to, and how a failure is told."""

from collections import Counter
from dataclasses import dataclass, field

from tests.simulation.plan import Plan
from tests.simulation.shrink import shrink
from tests.simulation.world import Outcome, play


@dataclass
class Tally:
    """Sums over plans."""

    plans: int = 0
    records: int = 0
    calls: int = 0
    commits: int = 0
    published: int = 0
    met: Counter[str] = field(default_factory=Counter)
    failed: list[int] = field(default_factory=list)
    "The seeds that failed."

    def add(self, seed: int, outcome: Outcome) -> None:
        """One more plan."""
        self.plans += 1
        self.records += outcome.records
        self.calls += outcome.calls
        self.commits += outcome.commits
        self.published += outcome.published
        self.met.update(outcome.met)
        if outcome.violation is not None:
            self.failed.append(seed)

    def merge(self, other: "Tally") -> None:
        """The plans of another tally, too."""
        self.plans += other.plans
        self.records += other.records
        self.calls += other.calls
        self.commits += other.commits
        self.published += other.published
        self.met.update(other.met)
        self.failed += other.failed

    def __str__(self) -> str:
        met = ", ".join(f"{kind} {count:,}" for kind, count in sorted(self.met.items()))
        return (
            f"{self.plans:,} seeds: {self.records:,} records, {self.calls:,} calls, {self.commits:,} commits, "
            f"{self.published:,} messages\n"
            f"{self.met.total():,} faults: {met}\n"
            f"{len(self.failed):,} violations"
        )


def story(plan: Plan) -> str:
    """A failure as a person reads it: what does not hold, the shortest plan for it, its steps, and how to replay it."""

    def kind(violation: str | None) -> str | None:
        return violation and violation.partition(":")[0]

    found = kind(play(plan).violation)
    shortest = shrink(plan, lambda shorter: kind(play(shorter).violation) == found)
    outcome = play(shortest, traced=True)
    return "\n".join(
        (
            f"{outcome.violation}",
            f"in {len(shortest.log)} items, {len(shortest.faults)} faults and {len(shortest.moves)} moves "
            f"(of {len(plan.log)}, {len(plan.faults)} and {len(plan.moves)}):",
            *(f"  {item}" for item in (*shortest.log, *shortest.faults, *shortest.moves)),
            "step by step (seconds):",
            *(f"  {line}" for line in outcome.trace),
            "again:",
            f"  python -m tests.simulation --plan '{shortest.to_json()}'",
        )
    )
