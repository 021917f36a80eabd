"""The faults by name. The tests go through them one by one, the soak at random."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from tests.faults.world import World

Part = Literal["kafka", "postgres", "smtp", "allocators", "mailers"]
Inject = Callable[[World], Awaitable[float]]
"Does it and undoes it. When it was over, in monotonic seconds; of a kill, when that was."


@dataclass(frozen=True)
class Fault:
    """A fault with a name."""

    name: str
    touches: frozenset[Part]
    "Two faults that touch the same part do not happen at the same time."
    inject: Inject


FAULTS: dict[str, Fault] = {}


def fault(*touches: Part) -> Callable[[Inject], Inject]:
    """Put a function into the registry, under its own name."""

    def enter(inject: Inject) -> Inject:
        name = inject.__name__
        FAULTS[name] = Fault(name.replace("_", " "), frozenset(touches), inject)
        return inject

    return enter
