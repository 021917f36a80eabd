"""The allocator under thousands of seeded schedules; and the simulation itself: it repeats, finds, and shortens."""

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
