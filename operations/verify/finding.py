"""What a check came to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

SHOWN = 5
"So many offenders are named; whether there are more is said."

Result = Literal["ok", "violated", "not checked", "noted"]


@dataclass(frozen=True)
class Finding:
    """A check: which invariant, what it says, over how much, and what does not hold."""

    invariant: str
    promise: str
    over: str
    result: Result = "ok"
    offenders: Sequence[str] = ()
    more: bool = False
    "There are more offenders than those."
    note: str | None = None

    def as_text(self) -> str:
        """A line, and one for each offender."""
        head = f"{self.invariant:<4} {self.result:<11}  {self.promise} ({self.over})"
        lines = [head + (f": {self.note}" if self.note else "")]
        lines += [f"       {offender}" for offender in self.offenders]
        return "\n".join([*lines, "       and more"] if self.more else lines)


def found(invariant: str, promise: str, over: str, offenders: Iterable[str], note: str | None = None) -> Finding:
    """The finding for the offenders, of which there are none where all is well."""
    named = list(offenders)
    return Finding(
        invariant,
        promise,
        over,
        "violated" if named else "ok",
        named[:SHOWN],
        more=len(named) > SHOWN,
        note=note,
    )


@dataclass
class Offenders:
    """Collects offenders in bounded memory."""

    named: list[str] = field(default_factory=list)

    def add(self, offender: str) -> None:
        """One more; after a few only that there are more is known."""
        if len(self.named) <= SHOWN:
            self.named.append(offender)
