"""The allocator under thousands of seeded schedules; and the simulation itself: it repeats, finds, and shortens."""

import json
import random
from collections.abc import Iterator

import pytest
import structlog

from consumers.allocator.owner import Owner
from tests.simulation.plan import CALLS, KINDS, MOVES, Plan, plan_of_json, plan_of_seed
from tests.simulation.report import Tally, story
from tests.simulation.silence import silence
from tests.simulation.world import play

SEEDS = 2_000
CHUNK = 250


@pytest.fixture(autouse=True)
def _silent() -> Iterator[None]:
    before = structlog.get_config()
    silence()
    yield
    structlog.configure(**before)


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_nothing_is_lost_repeated_or_overtaken_whatever_breaks(first: int) -> None:
    tally = Tally()
    for seed in range(first, first + CHUNK):
        tally.add(seed, play(plan_of_seed(seed)))
    assert not tally.failed, f"seed {tally.failed[0]}: {story(plan_of_seed(tally.failed[0]))}"
    assert tally.met.keys() == {*KINDS, *MOVES}, "some kinds of faults were never met"


def test_every_call_of_the_allocator_can_go_wrong_and_is_reached() -> None:
    reached = {fault.call for seed in range(CHUNK) for fault in plan_of_seed(seed).faults}
    assert reached == set(CALLS)
    calls = {
        line.split(" calls ")[1].split(" ")[0]
        for seed in range(60)
        for line in play(plan_of_seed(seed), traced=True).trace
        if " calls " in line
    }
    assert calls == set(CALLS)


def test_a_call_never_reaches_the_server_whose_session_ended_while_the_process_was_stopped() -> None:
    """The commit is to come late, the process stops before it, and the session is gone when it goes on."""
    plan = {
        "seed": 3_002_792,
        "members": 3,
        "catalogue": 0,
        "batch_records": 2,
        "log": [
            [0.0046, "final", 4, 0, 3, 1_000],
            [0.2358, "pending", 7, 1, 0, 1_000],
            [0.0154, "add", 5, 0, 4, 3_600_000],
        ],
        "faults": [["commit", 2, "late", 16.522]],
        "moves": [[0.281, "pause", 0, 11.236, 1], [3.4, "cut", 0, 2.113, 1]],
    }
    assert play(plan_of_json(json.dumps(plan))).violation is None


def test_the_same_plan_takes_the_same_steps() -> None:
    for seed in range(20):
        plan = plan_of_seed(seed)
        random.seed()  # whatever others have drawn
        first, second = play(plan, traced=True), play(plan_of_json(plan.to_json()), traced=True)
        assert first == second
        assert len(first.trace) > 20


def test_a_failure_is_found_shortened_and_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Owner._take_place  # noqa: SLF001

    async def take_place_without_publishing_again(owner: Owner) -> int:
        publish = owner._outbox.publish  # noqa: SLF001
        with monkeypatch.context() as patch:

            async def keep_silent(*_: object) -> None:
                return

            patch.setattr(owner._outbox, "publish", keep_silent)  # noqa: SLF001
            place = await taken(owner)
        assert owner._outbox.publish == publish  # noqa: SLF001
        return place

    monkeypatch.setattr(Owner, "_take_place", take_place_without_publishing_again)
    plan = next(plan for plan in map(plan_of_seed, range(2_000)) if play(plan).violation)
    told = story(plan)
    again = plan_of_json(told.rpartition("--plan '")[2].rstrip("'"))
    assert told.startswith("I7: the watermark is")
    assert play(again).violation == told.splitlines()[0]
    assert size(again) <= size(plan) // 2, told


def size(plan: Plan) -> int:
    return len(plan.log) + len(plan.faults) + len(plan.moves)


def test_something_that_is_no_plan_is_refused() -> None:
    with pytest.raises(ValueError, match="not a plan: 'log'"):
        plan_of_json("{}")
