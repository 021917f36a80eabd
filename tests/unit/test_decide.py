"""The rules as properties: against the reference model, over any log, any split, any order of the currencies."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.allocator.state import Reason
from tests.reference import Catalogue, Model, Record
from tests.reference.agreement import disagreement, facts_of_model, facts_of_rows
from tests.traffic import as_records, catalogues, hostile, lifecycle, logs
from tests.unit.memory import Memory, by_partition, of

many = settings(deadline=None, max_examples=60)


@st.composite
def logs_with_catalogue(draw: st.DrawFn) -> tuple[Catalogue, list[Record]]:
    catalogue = draw(catalogues())
    return catalogue, draw(logs(catalogue))


def replayed(catalogue: Catalogue, records: list[Record], batch: int = 1) -> Memory:
    memory = of(catalogue)
    for partition, those in by_partition(records).items():
        for start in range(0, len(those), batch):
            memory.take(partition, those[start : start + batch])
    return memory


def same_state(one: Memory, other: Memory) -> bool:
    return (
        one.orders == other.orders
        and one.wallets == other.wallets
        and one.assignments == other.assignments
        and one.counts == other.counts
        and sorted(one.dead_letters, key=_place) == sorted(other.dead_letters, key=_place)
        and sorted(one.notifications) == sorted(other.notifications)
    )


def _place(dead_letter: tuple[int, object]) -> tuple[int, int]:
    return dead_letter[0], dead_letter[1].entry.offset  # type: ignore[attr-defined]


def assert_agrees(memory: Memory, model: Model) -> None:
    """The state of the rules is the state of the reference model, row by row."""
    dead_letters = [(number, d.entry.offset, d.refusal.reason) for number, d in memory.dead_letters]
    found = facts_of_rows(memory.orders, memory.wallets, memory.assignments, dead_letters, memory.counts)
    assert not disagreement(found, facts_of_model(model))


@many
@given(logs_with_catalogue())
def test_the_rules_agree_with_the_reference_model(case: tuple[Catalogue, list[Record]]) -> None:
    catalogue, records = case
    model = Model(catalogue=catalogue)
    for record in records:
        model.take(record)
    assert_agrees(replayed(catalogue, records), model)


@many
@given(logs_with_catalogue(), st.randoms(use_true_random=False))
def test_any_split_into_batches_gives_the_same_state(
    case: tuple[Catalogue, list[Record]], chance: random.Random
) -> None:
    catalogue, records = case
    split = of(catalogue)
    for partition, those in by_partition(records).items():
        rest = list(those)
        while rest:
            size = chance.randint(1, len(rest))
            split.take(partition, rest[:size])
            rest = rest[size:]
    assert same_state(split, replayed(catalogue, records))


@many
@given(logs_with_catalogue())
def test_the_invariants_hold_after_every_event(case: tuple[Catalogue, list[Record]]) -> None:
    catalogue, records = case
    memory = of(catalogue)
    for record in records:
        waiting = {pool: memory.waiting(pool) for pool in memory.catalogue.pools()}
        changes = memory.take(record.partition, [record])
        for assignment in changes.assignments:
            pool = (assignment.currency, assignment.network)
            if assignment.waited:
                assert waiting[pool][0] == assignment.order_id, "I4: an older order was overtaken"
            else:
                assert not waiting[pool], "I4: a new order overtook those that wait"
        held = [(w.currency, w.order_id) for w in memory.wallets.values() if w.status == "occupied"]
        assert len(held) == len(set(held)), "I2: an order holds two wallets"
        holders = {
            (o.currency, o.network, o.address): o.order_id for o in memory.orders.values() if o.address is not None
        }
        assert len(holders) == len(held), "I1: a wallet is held by two orders"
        for key, order_id in holders.items():
            assert memory.wallets[key].order_id == order_id, "I1: wallet and order disagree"  # type: ignore[index]
        for pool in memory.catalogue.pools():
            assert not (memory.free(pool) and memory.waiting(pool)), "I3: a free wallet beside a waiting order"


@many
@given(logs_with_catalogue(), st.randoms(use_true_random=False))
def test_a_duplicate_right_after_its_event_changes_nothing(
    case: tuple[Catalogue, list[Record]], chance: random.Random
) -> None:
    catalogue, records = case
    # The end of a cooling names its assignment by the offset, and offsets move here.
    records = [record for record in records if b"wallet_cooled" not in (record.value or b"")]
    once = replayed(catalogue, records)
    twice = of(catalogue)
    moved: dict[int, int] = {}
    for partition, those in by_partition(records).items():
        for record in those:
            twice.take(partition, [record._replace(offset=record.offset * 2)])
            if chance.random() < 0.5:
                twice.take(partition, [record._replace(offset=record.offset * 2 + 1)])
            moved[record.offset * 2] = record.offset
    assert {key: (o.status, o.address) for key, o in twice.orders.items()} == {
        key: (o.status, o.address) for key, o in once.orders.items()
    }
    assert {key: (w.status, w.order_id, w.retiring) for key, w in twice.wallets.items()} == {
        key: (w.status, w.order_id, w.retiring) for key, w in once.wallets.items()
    }
    assert [moved[a.assigned_offset] for a in twice.assignments.values()] == [
        a.assigned_offset for a in once.assignments.values()
    ]


@many
@given(logs_with_catalogue(), st.randoms(use_true_random=False))
def test_the_order_of_events_of_different_currencies_does_not_matter(
    case: tuple[Catalogue, list[Record]], chance: random.Random
) -> None:
    catalogue, records = case
    rest = {partition: list(those) for partition, those in by_partition(records).items()}
    mixed = of(catalogue)
    while rest:
        partition = chance.choice(sorted(rest))
        mixed.take(partition, [rest[partition].pop(0)])
        if not rest[partition]:
            del rest[partition]
    assert same_state(mixed, replayed(catalogue, records))


@settings(deadline=None, max_examples=3)
@given(st.integers(0, 10_000))
def test_hostile_traffic_in_batches_agrees_with_the_reference_model(seed: int) -> None:
    records = list(as_records(hostile(seed, 1_500)))
    model = Model()
    for record in records:
        model.take(record)
    assert_agrees(replayed(model.catalogue, records, batch=97), model)


def test_every_reason_but_the_databases_own_is_met_in_hostile_traffic() -> None:
    memory = replayed(Model().catalogue, list(as_records(hostile(1, 3_000))), batch=500)
    reasons = {dead_letter.refusal.reason for _, dead_letter in memory.dead_letters}
    assert reasons == set(Reason) - {Reason.STORAGE_REFUSED}


def test_a_long_lifecycle_in_large_batches_agrees_with_the_reference_model() -> None:
    records = list(as_records(lifecycle(3, 5_000)))
    model = Model()
    for record in records:
        model.take(record)
    assert_agrees(replayed(model.catalogue, records, batch=1_000), model)
