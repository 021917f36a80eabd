"""What a session with the database promises."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from consumers.allocator.needs import Needs
from consumers.allocator.ports import Session
from consumers.allocator.state import (
    Changes,
    Counts,
    Order,
    OrderKey,
    Pool,
    Release,
    State,
    Step,
    Wallet,
    WalletKey,
)
from consumers.places import Place
from schemas.catalogue import read_catalogue
from schemas.events import event_uuid
from storage.database import AWAY, REFUSED
from tests.kept import found_order, found_wallet
from tests.ports.backend import TOPIC, Backend, Promise
from tests.ports.rows import (
    AT,
    CLUSTER,
    COUNT,
    POOL,
    assignment,
    dead_letter,
    free,
    holding,
    notification,
    occupied,
    waiting,
)

PLACE = (TOPIC, 0)
STILL_SECONDS = 0.3
"Who has not come back after so long waits for somebody else."


async def take(session: Session) -> Place:
    return await session.take_place(*PLACE, COUNT, CLUSTER)


async def move(session: Session, start: int, end: int, published: int = 0, **rest: Any) -> bool:
    """Write a step; `rest` is what a batch changes, and its dead letters and catalogue."""
    dead_letters, catalogue = rest.pop("dead_letters", []), rest.pop("catalogue", None)
    nothing = Changes([], [], [], [], [], [], [], [], Counts(applied=end - start))
    step = Step(start, end, published, nothing._replace(**rest), dead_letters, catalogue)
    return await session.apply(*PLACE, step)


async def write(session: Session, **rest: Any) -> None:
    """Write a step of one offset from wherever the place is."""
    place = (await take(session)).next_offset
    assert await move(session, place, place + 1, **rest)


async def see(
    session: Session,
    *orders: OrderKey,
    ends: tuple[OrderKey, ...] = (),
    wallets: tuple[WalletKey, ...] = (),
    free: dict[Pool, int] | None = None,
    waiting: dict[Pool, int] | None = None,
) -> State:
    named = dict.fromkeys(orders, False) | dict.fromkeys(ends, True)
    needs = Needs(named, dict.fromkeys(wallets), Counter(free or {}), Counter(waiting or {}))
    return (await session.gather(*PLACE, needs))[1]


async def two(backend: Backend) -> tuple[Session, Session]:
    """Two sessions, and a place at 0."""
    one, other = await backend.session(), await backend.session()
    await take(one)
    return one, other


async def the_place_begins_at_0_and_remembers_its_log(backend: Backend) -> None:
    session = await backend.session()
    assert await take(session) == Place(COUNT, CLUSTER, 0, 0, None)
    assert await session.take_place(*PLACE, COUNT + 1, "another") == Place(COUNT, CLUSTER, 0, 0, None)


async def a_partition_that_the_topic_did_not_have_gets_no_place(backend: Backend) -> None:
    session = await backend.session()
    await take(session)
    for count, cluster in ((COUNT + 12, CLUSTER), (COUNT, "another")):
        for _ in range(2):
            found = await session.take_place(TOPIC, COUNT + 2, count, cluster)
            assert found == Place(COUNT, CLUSTER, 0, 0, None), (count, cluster)


async def only_exactly_from_its_start_the_place_moves(backend: Backend) -> None:
    session = (await two(backend))[0]
    assert await move(session, 0, 5)
    for start in (0, 4, 6):
        assert not await move(session, start, 9)
    assert (await take(session)).next_offset == 5
    assert await move(session, 5, 9)


async def who_moves_the_place_waits_for_who_is_moving_it(backend: Backend) -> None:
    one, other = await two(backend)
    async with backend.moving():
        waits = [asyncio.create_task(move(session, 0, end)) for session, end in ((one, 3), (other, 4))]
        assert await still_wait(*waits)
    assert sorted([await task for task in waits]) == [False, True]
    assert (await take(one)).next_offset in (3, 4)


async def the_place_is_told_only_when_nobody_is_moving_it(backend: Backend) -> None:
    one, other = await two(backend)
    async with backend.moving():
        asking, moving = asyncio.create_task(take(other)), asyncio.create_task(move(one, 0, 5))
        assert await still_wait(asking, moving)
    assert await moving
    assert (await asking).next_offset in (0, 5)
    assert (await take(other)).next_offset == 5


async def what_is_read_waits_for_nobody_and_comes_with_the_place(backend: Backend) -> None:
    one = (await two(backend))[0]
    assert await move(one, 0, 5, new_orders=[waiting("ord-1", 0)])
    async with backend.moving():
        place, state = await one.gather(*PLACE, Needs({("USDT", "ord-1"): False}, {}, Counter(), Counter()))
    assert (place, state) == (5, State({("USDT", "ord-1"): found_order(waiting("ord-1", 0))}, {}, {}, {}))


async def who_is_fenced_writes_nothing(backend: Backend) -> None:
    one, other = await two(backend)
    assert await move(one, 0, 5)
    for start in (0, 4, 6):
        catalogue, letters = read_catalogue(), [dead_letter(1)]
        assert not await move(
            other, start, 9, 5, new_orders=[waiting("ord-1", 0)], dead_letters=letters, catalogue=catalogue
        )
    assert await take(other) == Place(COUNT, CLUSTER, 5, 0, None)
    assert await see(other, ("USDT", "ord-1")) == State({}, {}, {}, {})
    assert list(await other.unpublished_dead_letters(*PLACE, 0, 9, 9)) == []


async def an_error_undoes_the_whole_step(backend: Backend) -> None:
    one, other = await two(backend)
    assert await move(one, 0, 1, new_orders=[waiting("ord-1", 0)])
    with pytest.raises(REFUSED):
        await move(one, 1, 3, new_orders=[waiting("ord-2", 1), waiting("ord-1", 2)], catalogue=read_catalogue())
    assert await take(other) == Place(COUNT, CLUSTER, 1, 0, None)
    assert await see(other, ("USDT", "ord-2")) == State({}, {}, {}, {})
    assert await move(one, 1, 2)  # the session goes on


async def a_session_that_has_ended_is_away(backend: Backend) -> None:
    session = (await two(backend))[0]
    session.terminate()
    with pytest.raises(AWAY):
        await move(session, 0, 1)


async def the_watermark_only_grows_and_never_passes_the_place(backend: Backend) -> None:
    session = (await two(backend))[0]
    assert await move(session, 0, 5)
    for noted, then in ((3, 3), (2, 3), (6, 3), (5, 5)):
        await session.note_published(*PLACE, noted)
        assert (await take(session)).published_offset == then
    assert await move(session, 5, 9, published=4)
    assert (await take(session)).published_offset == 5
    with pytest.raises(REFUSED):
        await move(session, 9, 10, published=11)
    assert (await take(session)).next_offset == 9


async def a_catalogue_is_known_from_where_it_was_recorded(backend: Backend) -> None:
    session = (await two(backend))[0]
    first = read_catalogue()
    second = first.model_copy(update={"expiry_minutes": 91})
    assert await move(session, 0, 7, catalogue=first)
    assert (await take(session)).catalogue == first.sha256
    assert await move(session, 7, 9, catalogue=second)
    assert (await take(session)).catalogue == second.sha256


async def an_order_is_found_with_the_wallet_that_it_holds(backend: Backend) -> None:
    session = (await two(backend))[0]
    held, wallet = holding("ord-1", 2, "T1"), occupied("T1", 3, "ord-1")
    await write(session, new_orders=[held, waiting("ord-2", 4)], new_wallets=[wallet])
    state = await see(session, ("USDT", "ord-2"), ("USDT", "ord-1"), ("BTC", "ord-1"), ("USDT", "ord-9"))
    orders = {("USDT", "ord-1"): found_order(held), ("USDT", "ord-2"): found_order(waiting("ord-2", 4))}
    assert state == State(orders, {(*POOL, "T1"): found_wallet(wallet)}, {}, {})


async def a_change_of_an_order_tells_what_has_changed(backend: Backend) -> None:
    session = (await two(backend))[0]
    kept = waiting("ord-1", 1, reason="other", actor="ann", traceparent="00-1")
    await write(session, new_orders=[kept])

    async def change(**told: Any) -> None:
        found = (await see(session, ("USDT", "ord-1"))).orders["USDT", "ord-1"]
        await write(session, changed_orders=[replace(Order(*found), **told), waiting("ord-9", 3)])
        for name, content in told.items():
            setattr(kept, name, content)
        assert await backend.orders() == [kept]

    await change(queue_place=None, address="T1")
    await change(status="paid", paid_offset=5, reason="seen", actor="bob")
    await change(status="processing", processing_offset=6, reason=None, actor=None)
    await change(status="cancelled", ended_offset=9, ended_at=AT, address=None, reason="why", actor="kim")


async def an_order_that_ended_first_may_begin_later(backend: Backend) -> None:
    session = (await two(backend))[0]
    ended = Order("USDT", "ord-1", "failed", reason="why", actor="ann", ended_offset=1, ended_at=AT)
    await write(session, new_orders=[ended])
    begun = replace(ended, network="TRC-20", amount="10.00", pending_offset=4, pending_at=AT)
    await write(session, changed_orders=[replace(begun, reason=None, actor=None, ended_offset=None, ended_at=None)])
    assert await backend.orders() == [begun]


async def what_an_order_has_for_good_stays(backend: Backend) -> None:
    session = (await two(backend))[0]
    kept = waiting("ord-1", 1, traceparent="00-1")
    await write(session, new_orders=[kept])
    other = replace(kept, email="bob@example.com", locale="ru", traceparent="00-2", expires_at=AT + timedelta(1))
    await write(session, changed_orders=[other])
    assert await backend.orders() == [kept]


async def a_wallet_changes_and_is_found_by_its_name(backend: Backend) -> None:
    session = (await two(backend))[0]
    await write(session, new_wallets=[free("T1", 1), free("T2", 2, retired_offset=1)])
    changed = occupied("T1", 5, "ord-1")
    await write(session, changed_wallets=[replace(changed, retired_offset=7), free("T9", 9)])
    state = await see(session, wallets=((*POOL, "T1"), (*POOL, "T9"), ("USDT", "ERC-20", "T2")))
    assert state == State({}, {(*POOL, "T1"): found_wallet(changed)}, {}, {})
    with pytest.raises(REFUSED):
        await write(session, new_wallets=[free("T1", 7)])


async def a_change_of_a_wallet_tells_what_has_changed(backend: Backend) -> None:
    session = (await two(backend))[0]
    kept = free("T1", 1, retired_offset=0)
    await write(session, new_wallets=[kept])

    async def change(**told: Any) -> None:
        found = (await see(session, wallets=((*POOL, "T1"),))).wallets[*POOL, "T1"]
        await write(session, changed_wallets=[replace(Wallet(*found), **told)])
        for name, content in told.items():
            setattr(kept, name, content)
        assert await backend.wallets() == [kept]

    held = {"order_id": "ord-1", "assigned_offset": 3}
    await change(status="occupied", free_place=None, **held)
    await change(retiring=True, retired_offset=4)
    await change(retiring=False, added_offset=5)
    begun = {"cooling_assignment_id": event_uuid(TOPIC, 0, 3), "cooling_until": AT}
    await change(status="cooling", **begun, **dict.fromkeys(held))
    await change(status="available", free_place=9, **dict.fromkeys(begun))


async def the_heads_of_the_queues_come_oldest_first(backend: Backend) -> None:
    session = (await two(backend))[0]
    other_pool = ("USDT", "ERC-20")
    await write(
        session,
        new_orders=[
            *(waiting(f"ord-{place}", place) for place in (7, 3, 5)),
            waiting("ord-1", 1, network="ERC-20"),
            holding("ord-2", 2, "T0"),
        ],
        new_wallets=[
            *(free(f"T{place}", place) for place in (8, 4, 6)),
            occupied("T0", 2, "ord-2"),
            free("T1", 1, network="ERC-20"),
        ],
    )
    state = await see(session, waiting={POOL: 2}, free={POOL: 2})
    assert (state.waiting, state.free) == ({POOL: ["ord-3", "ord-5"]}, {POOL: ["T4", "T6"]})
    assert state.orders == {("USDT", f"ord-{place}"): found_order(waiting(f"ord-{place}", place)) for place in (3, 5)}
    assert state.wallets == {(*POOL, f"T{place}"): found_wallet(free(f"T{place}", place)) for place in (4, 6)}
    state = await see(session, waiting={POOL: 9, other_pool: 9}, free={POOL: 9, other_pool: 9})
    assert state.waiting == {POOL: ["ord-3", "ord-5", "ord-7"], other_pool: ["ord-1"]}
    assert state.free == {POOL: ["T4", "T6", "T8"], other_pool: ["T1"]}


async def an_order_that_may_end_needs_one_more_that_waits_in_its_pool(backend: Backend) -> None:
    session = (await two(backend))[0]
    ended = waiting("ord-0", 0, status="failed", queue_place=None, ended_offset=1, ended_at=AT, network=None)
    orders = [holding("ord-1", 1, "T1"), *(waiting(f"ord-{place}", place) for place in (4, 5, 6, 7)), ended]
    await write(session, new_orders=orders, new_wallets=[occupied("T1", 1, "ord-1")])
    holds, waits, remembered, unknown = (("USDT", f"ord-{number}") for number in (1, 6, 0, 9))
    assert (await see(session, holds, waits)).waiting == {}
    assert (await see(session, ends=(holds,))).waiting == {POOL: ["ord-4"]}
    assert (await see(session, ends=(holds, waits))).waiting == {POOL: ["ord-4", "ord-5"]}
    assert (await see(session, ends=(holds,), waiting={POOL: 2})).waiting == {POOL: ["ord-4", "ord-5", "ord-6"]}
    assert (await see(session, ends=(remembered, unknown))).waiting == {}


async def a_wallet_has_one_open_assignment_and_an_order_one_in_all(backend: Backend) -> None:
    session = (await two(backend))[0]
    await write(
        session,
        new_orders=[holding("ord-1", 0, "T1"), waiting("ord-2", 1)],
        assignments=[assignment("ord-1", "T1", 2), assignment("ord-3", "T9", 3, released=4)],
    )
    of_a_held_wallet, of_a_known_event = assignment("ord-2", "T1", 5), assignment("ord-2", "T2", 2)
    of_a_served_order, of_an_ended_order = assignment("ord-1", "T2", 5), assignment("ord-3", "T2", 5)
    for second in (of_a_held_wallet, of_a_known_event, of_a_served_order, of_an_ended_order):
        with pytest.raises(REFUSED):
            await write(session, assignments=[second])
    await write(session, releases=[Release(2, 7, AT)], assignments=[assignment("ord-2", "T1", 7)])


async def the_outbox_tells_what_was_kept_in_offset_order(backend: Backend) -> None:
    session = (await two(backend))[0]
    numbers = (9, 3, 5, 7)
    await write(
        session,
        new_orders=[holding(f"ord-{number}", number, f"T{number}") for number in numbers],
        assignments=[assignment(f"ord-{number}", f"T{number}", number) for number in numbers],
        dead_letters=[dead_letter(offset) for offset in (8, 2, 4)],
    )
    found = await session.unpublished_notifications(0, 3, 9, 2)
    assert list(found) == [notification("ord-3", "T3", 3), notification("ord-5", "T5", 5)]
    assert list(await session.unpublished_notifications(0, 6, 9, 9)) == [notification("ord-7", "T7", 7)]
    assert list(await session.unpublished_notifications(1, 0, 9, 9)) == []
    assert list(await session.unpublished_dead_letters(*PLACE, 2, 8, 9)) == [dead_letter(2), dead_letter(4)]
    assert list(await session.unpublished_dead_letters(*PLACE, 2, 9, 1)) == [dead_letter(2)]
    assert list(await session.unpublished_dead_letters(TOPIC, 1, 0, 9, 9)) == []
    with pytest.raises(REFUSED):
        await write(session, dead_letters=[dead_letter(8)])


async def a_dead_letter_is_kept_byte_for_byte(backend: Backend) -> None:
    session = (await two(backend))[0]
    odd = bytes(range(256))
    letters = [
        dead_letter(1)._replace(key=odd, value=odd, value_length=256, message='quote" back\\slash\nline, {brace} №'),
        dead_letter(2)._replace(key=b"", value=b"", value_length=0),
        dead_letter(3)._replace(key=None, value=None, value_length=None, value_sha256=None, message="NULL"),
    ]
    await write(session, dead_letters=letters)
    assert list(await session.unpublished_dead_letters(*PLACE, 0, 9, 9)) == letters


async def still_wait(*tasks: "asyncio.Task[Any]") -> bool:
    """Whether the tasks wait for something that somebody else must do."""
    done, _ = await asyncio.wait(tasks, timeout=STILL_SECONDS)
    return not done


SESSION_PROMISES: tuple[Promise, ...] = (
    the_place_begins_at_0_and_remembers_its_log,
    a_partition_that_the_topic_did_not_have_gets_no_place,
    only_exactly_from_its_start_the_place_moves,
    who_moves_the_place_waits_for_who_is_moving_it,
    the_place_is_told_only_when_nobody_is_moving_it,
    what_is_read_waits_for_nobody_and_comes_with_the_place,
    who_is_fenced_writes_nothing,
    an_error_undoes_the_whole_step,
    a_session_that_has_ended_is_away,
    the_watermark_only_grows_and_never_passes_the_place,
    a_catalogue_is_known_from_where_it_was_recorded,
    an_order_is_found_with_the_wallet_that_it_holds,
    a_change_of_an_order_tells_what_has_changed,
    an_order_that_ended_first_may_begin_later,
    what_an_order_has_for_good_stays,
    a_wallet_changes_and_is_found_by_its_name,
    a_change_of_a_wallet_tells_what_has_changed,
    the_heads_of_the_queues_come_oldest_first,
    an_order_that_may_end_needs_one_more_that_waits_in_its_pool,
    a_wallet_has_one_open_assignment_and_an_order_one_in_all,
    the_outbox_tells_what_was_kept_in_offset_order,
    a_dead_letter_is_kept_byte_for_byte,
)
