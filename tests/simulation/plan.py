"""A plan: what is logged, what goes wrong, and who owns the partition when. A seed makes one; JSON keeps one."""

import json
import random
from typing import Any, NamedTuple

HORIZON_SECONDS = 40.0
"Faults and moves happen within so long; afterwards everything must drain."

CALLS = (
    "connect",
    "take_place",
    "gather",
    "apply",
    "note_published",
    "unpublished_notifications",
    "unpublished_dead_letters",
    "describe",
    "fetch",
    "publish",
    "send",
)
"Every await of the allocator that reaches a server."
CRITICAL = ("apply", "publish", "send", "take_place", "note_published", "fetch")
"Where most of what can go wrong goes wrong: half of the faults are put here."

KINDS = (
    "fail",  # the call does nothing, and raises
    "lose",  # the call does its work, and raises: its reply is lost
    "late",  # the call raises, and does its work some time afterwards
    "part",  # a publish does some of its work, and raises; other calls as "lose"
    "slow",  # the call takes so many seconds more
    "crash",  # the process is killed before the call's work
    "crash_after",  # the process is killed after the call's work, before its reply
    "pause",  # the process is stopped before the call's work for so many seconds
    "pause_after",  # the process is stopped after the call's work, before its reply
)
MOVES = (
    "steal",  # the group gives the partition to another member; the old one hears of it late
    "hand_over",  # the group takes the partition away in good order, then gives it to another member
    "kill",  # a member is killed at this moment, wherever it is
    "pause",  # a member is stopped at this moment for some seconds
    "cut",  # all sessions of a member with the database break
    "deploy",  # a member is stopped in good order, and started with another catalogue
)


class Item(NamedTuple):
    """Something that an upstream service appends to the log, `after` seconds behind the item before it."""

    after: float
    kind: str
    subject: int = 0
    pool: int = 0
    variant: int = 0
    clock_ms: int = 1_000
    "How far the broker's clock goes on; it may jump, and go back."


class Fault(NamedTuple):
    """What happens at the `nth` call of this name, counted over all processes."""

    call: str
    nth: int
    kind: str
    seconds: float


class Move(NamedTuple):
    """What happens to the group at a moment."""

    at: float
    kind: str
    member: int
    seconds: float
    catalogue: int


class Plan(NamedTuple):
    """All that a simulation depends on."""

    seed: int
    "Of the delays of the calls."
    members: int
    catalogue: int
    "The one that all begin with."
    batch_records: int
    log: tuple[Item, ...]
    faults: tuple[Fault, ...]
    moves: tuple[Move, ...]

    def to_json(self) -> str:
        """One line, from which `plan_of_json` makes the same plan."""
        return json.dumps(self._asdict(), separators=(",", ":"))


def plan_of_json(text: str) -> Plan:
    """The plan that `to_json` has written.

    Raises:
        ValueError: it is none.
    """
    try:
        content: dict[str, Any] = json.loads(text)
        content["log"] = tuple(Item(*item) for item in content["log"])
        content["faults"] = tuple(Fault(*fault) for fault in content["faults"])
        content["moves"] = tuple(Move(*move) for move in content["moves"])
        return Plan(**content)
    except (TypeError, KeyError) as error:
        raise ValueError(f"not a plan: {error}") from error


def plan_of_seed(seed: int) -> Plan:
    """A small log with many collisions, and faults where they hurt."""
    rng = random.Random(seed)
    return Plan(
        seed=seed,
        members=rng.randint(1, 3),
        catalogue=rng.randrange(3),
        batch_records=rng.choice((1, 2, 3, 8, 50)),
        log=tuple(_log(rng)),
        faults=tuple(_fault(rng) for _ in range(rng.randint(0, 10))),
        moves=tuple(sorted(_move(rng) for _ in range(rng.choice((0, 0, 1, 2, 4, 6))))),
    )


def _log(rng: random.Random) -> list[Item]:
    pools, orders, wallets = rng.randint(1, 2), rng.randint(2, 12), rng.randint(1, 4)
    pace = rng.choice((0.002, 0.05, 0.5))
    kinds = ["pending"] * 8 + ["final"] * 8 + ["paid"] * 2 + ["add"] * 3 + ["retire", "cool", "cool"]
    kinds += rng.choice(([], ["junk"], ["poison"], ["gap"], ["junk", "poison", "gap", "gap"]))
    log: list[Item] = []
    for _ in range(rng.randint(4, 28)):
        if log and rng.random() < 0.05:  # a producer that did not see the acknowledgement sends again
            log += [item._replace(after=0.0) for item in log[-rng.randint(1, 4) :]]
        log.append(
            Item(
                after=0.0 if rng.random() < 0.3 else round(rng.expovariate(1 / pace), 4),
                kind=rng.choice(kinds),
                subject=rng.randrange(orders * wallets),
                pool=rng.randrange(pools),
                variant=rng.randrange(12),
                clock_ms=rng.choice((1_000, 1_000, 1_000, 0, -3_600_000, 3_600_000)),
            )
        )
    return log


def _fault(rng: random.Random) -> Fault:
    return Fault(
        call=rng.choice(CRITICAL if rng.random() < 0.5 else CALLS),
        nth=int(rng.expovariate(1 / 5)),
        kind=rng.choice(KINDS),
        seconds=round(rng.choice((0.01, 0.3, 4.0, 8.0, 20.0, 35.0)) * rng.uniform(0.5, 1), 3),
    )


def _move(rng: random.Random) -> Move:
    return Move(
        at=round(rng.uniform(0, HORIZON_SECONDS) if rng.random() < 0.3 else rng.uniform(0, 4), 3),
        kind=rng.choice(MOVES),
        member=rng.randrange(3),
        seconds=round(rng.choice((0.01, 0.5, 3.0, 12.0)) * rng.uniform(0.5, 1), 3),
        catalogue=rng.randrange(3),
    )
