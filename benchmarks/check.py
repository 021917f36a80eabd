"""Whether a contender has told every order what the reference model says, and nothing else."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import orjson

from benchmarks.log import Assigned, OrderKey

FIELDS = ("network", "address", "waited")


class Verdict(NamedTuple):
    """What was found.

    Attributes:
        wrong: the first difference, in words; None where there is none.
        missing: how many orders were told nothing.
        repeated: how many notifications said again what had been said.
    """

    wrong: str | None
    missing: int
    repeated: int


def check(
    values: Iterable[bytes | None], assigned: Mapping[OrderKey, Assigned], *, may_be_missing: bool = False
) -> Verdict:
    """Compare notifications, in the order of their arrival, with what must be.

    Args:
        values: of the records.
        assigned: what the model says of the same log.
        may_be_missing: the contender was not given the time to come to the end.
    """
    told: dict[OrderKey, tuple[object, ...]] = {}
    wrong: list[str] = []
    repeated = 0
    for value in values:
        try:
            document = orjson.loads(value or b"")
            key = (document["currency"], document["order_id"])
            said = tuple(document[name] for name in FIELDS)
        except (orjson.JSONDecodeError, TypeError, KeyError) as error:
            wrong.append(f"a notification cannot be read ({type(error).__name__}: {error}): {value!r:.200}")
            continue
        if key in told:
            repeated += 1
            if told[key] != said:
                wrong.append(f"order {_name(key)} was told {_words(told[key])}, and then {_words(said)}")
            continue
        told[key] = said
        if key not in assigned:
            wrong.append(f"order {_name(key)} was told {_words(said)}, and must be told nothing")
        elif said != (right := assigned[key][: len(FIELDS)]):
            wrong.append(f"order {_name(key)} was told {_words(said)}, and must be told {_words(right)}")
    missing = [key for key in assigned if key not in told]
    if missing and not may_be_missing:
        first = min(missing, key=lambda key: assigned[key].cause)
        wrong.append(f"{len(missing)} orders were told nothing, first {_name(first)}")
    return Verdict(wrong[0] if wrong else None, len(missing), repeated)


def _name(key: OrderKey) -> str:
    return f"{key[1]} ({key[0]})"


def _words(said: tuple[object, ...]) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(FIELDS, said, strict=True))
