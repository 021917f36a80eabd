"""What a session with the database promises."""

import asyncio
from collections import Counter
from contextlib import suppress

import pytest

from consumers.allocator.ports import Session
from consumers.allocator.state import Counts, Order, Release
from consumers.places import Place
from schemas.catalogue import read_catalogue
from storage.database import AWAY, REFUSED
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


class Undone(Exception):  # nothing is wrong
    """Leaves a transaction."""


async def take(session: Session) -> Place:
    return await session.take_place(*PLACE, COUNT, CLUSTER)


async def move(session: Session, start: int, end: int, published: int = 0) -> bool:
    return await session.advance(*PLACE, start, end, published, Counts(applied=end - start))


async def two(backend: Backend) -> tuple[Session, Session]:
    """Two sessions, and a place at 0."""
    one, other = await backend.session(), await backend.session()
    await take(one)
    return one, other


async def the_place_begins_at_0_and_remembers_its_log(backend: Backend) -> None:
    session = await backend.session()
    assert await take(session) == Place(COUNT, CLUSTER, 0, 0, None)
    assert await session.take_place(*PLACE, COUNT + 1, "another") == Place(COUNT, CLUSTER, 0, 0, None)


async def only_exactly_from_its_start_the_place_moves(backend: Backend) -> None:
    session = (await two(backend))[0]
    assert await move(session, 0, 5)
    for start in (0, 4, 6):
        assert not await move(session, start, 9)
    assert (await take(session)).next_offset == 5
    assert await move(session, 5, 9)


async def who_moves_the_place_lets_others_wait_and_then_say_no(backend: Backend) -> None:
    one, other = await two(backend)
    async with one.transaction():
        assert await move(one, 0, 5)
        second = asyncio.create_task(move(other, 0, 3))
        assert await still_waits(second)
    assert await second is False
    assert (await take(other)).next_offset == 5


async def who_gives_up_lets_the_next_one_move_the_place(backend: Backend) -> None:
    one, other = await two(backend)
    with suppress(Undone):
        async with one.transaction():
            assert await move(one, 0, 5)
            second = asyncio.create_task(move(other, 0, 3))
            assert await still_waits(second)
            raise Undone
    assert await second is True
    assert (await take(one)).next_offset == 3


async def the_place_is_told_only_when_nobody_is_moving_it(backend: Backend) -> None:
    one, other = await two(backend)
    async with one.transaction():
        assert await move(one, 0, 5)
        asking = asyncio.create_task(take(other))
        assert await still_waits(asking)
    assert (await asking).next_offset == 5


async def a_fenced_transaction_keeps_nobody_waiting(backend: Backend) -> None:
    one, other = await two(backend)
    with suppress(Undone):
        async with one.transaction():
            assert not await move(one, 7, 9)
            assert await move(other, 0, 2)
            raise Undone


async def nothing_is_seen_before_the_commit_and_all_of_it_afterwards(backend: Backend) -> None:
    one, other = await two(backend)
    async with one.transaction():
        await one.insert_orders([waiting("ord-1", 0)])
        await one.insert_wallets([free("T1", 1)])
        assert await other.orders_named([("USDT", "ord-1")]) == []
        assert await other.first_free(Counter({POOL: 5})) == []
    assert [order.order_id for order, _ in await other.orders_named([("USDT", "ord-1")])] == ["ord-1"]
    assert [wallet.address for wallet in await other.first_free(Counter({POOL: 5}))] == ["T1"]


async def what_is_read_in_a_transaction_is_of_its_first_moment(backend: Backend) -> None:
    one, other = await two(backend)
    await one.insert_wallets([free("T1", 1)])
    await one.insert_orders([waiting("ord-1", 0)])
    async with one.transaction():
        assert [order.order_id for order, _ in await one.orders_named([("USDT", "ord-1")])] == ["ord-1"]
        await other.update_wallets([occupied("T1", 2, "ord-1")])
        await other.update_orders([holding("ord-1", 0, "T1")])
        await other.insert_orders([waiting("ord-2", 3)])
        assert list(await one.first_free(Counter({POOL: 5}))) == [free("T1", 1)]
        assert list(await one.wallets_named([(*POOL, "T1")])) == [free("T1", 1)]
        assert list(await one.first_waiting(Counter({POOL: 5}))) == [waiting("ord-1", 0)]
        await one.insert_orders([waiting("ord-3", 4)])
        assert [order.order_id for order in await one.first_waiting(Counter({POOL: 5}))] == ["ord-1", "ord-3"]
    assert [order.order_id for order in await one.first_waiting(Counter({POOL: 5}))] == ["ord-2", "ord-3"]


async def a_place_that_has_moved_since_the_transaction_began_is_not_moved(backend: Backend) -> None:
    one, other = await two(backend)
    with suppress(Undone):
        async with one.transaction():
            assert await one.orders_named([("USDT", "ord-1")]) == []
            assert await move(other, 0, 5)
            assert not await move(one, 0, 5)
            raise Undone
    with suppress(Undone):
        async with one.transaction():
            assert await one.orders_named([("USDT", "ord-1")]) == []
            assert await move(other, 5, 7)
            assert not await move(one, 7, 8), "where it is now was not seen"
            raise Undone
    assert (await take(other)).next_offset == 7
    assert await move(one, 7, 8)


async def an_error_undoes_the_whole_transaction(backend: Backend) -> None:
    one, other = await two(backend)
    await one.insert_orders([waiting("ord-1", 0)])
    with pytest.raises(REFUSED):
        await all_or_nothing(one, [waiting("ord-2", 1), waiting("ord-1", 2)])
    assert (await take(other)).next_offset == 0
    assert await other.orders_named([("USDT", "ord-2")]) == []
    assert await move(one, 0, 1)  # the session goes on


async def all_or_nothing(session: Session, orders: list[Order]) -> None:
    async with session.transaction():
        assert await move(session, 0, 3)
        await session.insert_orders(orders)


async def a_session_that_ends_in_a_transaction_leaves_nothing_behind(backend: Backend) -> None:
    one, other = await two(backend)
    with pytest.raises(AWAY):
        await end_within(one)
    assert (await take(other)).next_offset == 0
    assert await other.orders_named([("USDT", "ord-1")]) == []
    assert await move(other, 0, 1)


async def end_within(session: Session) -> None:
    async with session.transaction():
        assert await move(session, 0, 3)
        await session.insert_orders([waiting("ord-1", 0)])
        session.terminate()


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
    await session.record_catalogue(*PLACE, 0, first)
    assert (await take(session)).catalogue == first.sha256
    await session.record_catalogue(*PLACE, 7, second)
    assert (await take(session)).catalogue == second.sha256
    with pytest.raises(REFUSED):
        await session.record_catalogue(*PLACE, 7, first)


async def an_order_is_found_with_the_wallet_that_it_holds(backend: Backend) -> None:
    session = (await two(backend))[0]
    held, wallet = holding("ord-1", 2, "T1"), occupied("T1", 3, "ord-1")
    await session.insert_orders([held, waiting("ord-2", 4)])
    await session.insert_wallets([wallet])
    found = await session.orders_named([("USDT", "ord-2"), ("USDT", "ord-1"), ("BTC", "ord-1"), ("USDT", "ord-9")])
    assert sorted(found, key=lambda pair: pair[0].order_id) == [(held, wallet), (waiting("ord-2", 4), None)]


async def a_change_of_an_order_leaves_what_cannot_change(backend: Backend) -> None:
    session = (await two(backend))[0]
    await session.insert_orders([waiting("ord-1", 1)])
    ended = waiting(
        "ord-1", 1, status="cancelled", queue_place=None, ended_offset=9, ended_at=AT, reason="why", email="other"
    )
    await session.update_orders([ended, waiting("ord-9", 3)])
    found = await session.orders_named([("USDT", "ord-1"), ("USDT", "ord-9")])
    assert [(o.status, o.queue_place, o.ended_offset, o.reason, o.email) for o, _ in found] == [
        ("cancelled", None, 9, "why", "ann@example.com")
    ]


async def a_wallet_changes_and_is_found_by_its_name(backend: Backend) -> None:
    session = (await two(backend))[0]
    await session.insert_wallets([free("T1", 1), free("T2", 2)])
    changed = occupied("T1", 5, "ord-1")
    await session.update_wallets([changed, free("T9", 9)])
    found = await session.wallets_named([(*POOL, "T1"), (*POOL, "T9"), ("USDT", "ERC-20", "T2")])
    assert list(found) == [changed]
    with pytest.raises(REFUSED):
        await session.insert_wallets([free("T1", 7)])


async def the_heads_of_the_queues_come_oldest_first(backend: Backend) -> None:
    session = (await two(backend))[0]
    other_pool = ("USDT", "ERC-20")
    await session.insert_orders([waiting(f"ord-{place}", place) for place in (7, 3, 5)])
    await session.insert_orders([waiting("ord-1", 1, network="ERC-20"), holding("ord-2", 2, "T0")])
    await session.insert_wallets([free(f"T{place}", place) for place in (8, 4, 6)])
    await session.insert_wallets([occupied("T0", 2, "ord-2"), free("T1", 1, network="ERC-20")])
    assert [order.order_id for order in await session.first_waiting(Counter({POOL: 2}))] == ["ord-3", "ord-5"]
    assert [wallet.address for wallet in await session.first_free(Counter({POOL: 2}))] == ["T4", "T6"]
    both = Counter({POOL: 9, other_pool: 9})
    assert sorted(order.order_id for order in await session.first_waiting(both)) == [
        "ord-1",
        "ord-3",
        "ord-5",
        "ord-7",
    ]
    assert sorted(wallet.address for wallet in await session.first_free(both)) == ["T1", "T4", "T6", "T8"]


async def a_wallet_and_an_order_have_one_open_assignment(backend: Backend) -> None:
    session = (await two(backend))[0]
    await session.insert_orders([holding("ord-1", 0, "T1"), waiting("ord-2", 1)])
    await session.insert_assignments(0, [assignment("ord-1", "T1", 2), assignment("ord-2", "T9", 3, released=4)])
    for second in (assignment("ord-2", "T1", 5), assignment("ord-1", "T2", 6), assignment("ord-2", "T2", 2)):
        with pytest.raises(REFUSED):
            await session.insert_assignments(0, [second])
    async with session.transaction():
        await session.close_assignments(0, [Release(2, 7, AT)])
        await session.insert_assignments(0, [assignment("ord-2", "T1", 7)])


async def the_outbox_tells_what_was_kept_in_offset_order(backend: Backend) -> None:
    session = (await two(backend))[0]
    numbers = (9, 3, 5, 7)
    await session.insert_orders([holding(f"ord-{number}", number, f"T{number}") for number in numbers])
    await session.insert_assignments(0, [assignment(f"ord-{number}", f"T{number}", number) for number in numbers])
    await session.insert_assignments(1, [assignment("ord-9", "T8", 4, released=6)])
    found = await session.unpublished_notifications(0, 3, 9, 2)
    assert list(found) == [notification("ord-3", "T3", 3), notification("ord-5", "T5", 5)]
    assert list(await session.unpublished_notifications(0, 6, 9, 9)) == [notification("ord-7", "T7", 7)]
    await session.insert_dead_letters(*PLACE, [dead_letter(offset) for offset in (8, 2, 4)])
    assert list(await session.unpublished_dead_letters(*PLACE, 2, 8, 9)) == [dead_letter(2), dead_letter(4)]
    assert list(await session.unpublished_dead_letters(*PLACE, 2, 9, 1)) == [dead_letter(2)]
    assert list(await session.unpublished_dead_letters(TOPIC, 1, 0, 9, 9)) == []
    with pytest.raises(REFUSED):
        await session.insert_dead_letters(*PLACE, [dead_letter(8)])


async def still_waits(task: "asyncio.Task[object]") -> bool:
    """Whether the task waits for something that somebody else must do."""
    done, _ = await asyncio.wait([task], timeout=STILL_SECONDS)
    return not done


SESSION_PROMISES: tuple[Promise, ...] = (
    the_place_begins_at_0_and_remembers_its_log,
    only_exactly_from_its_start_the_place_moves,
    who_moves_the_place_lets_others_wait_and_then_say_no,
    who_gives_up_lets_the_next_one_move_the_place,
    the_place_is_told_only_when_nobody_is_moving_it,
    a_fenced_transaction_keeps_nobody_waiting,
    nothing_is_seen_before_the_commit_and_all_of_it_afterwards,
    what_is_read_in_a_transaction_is_of_its_first_moment,
    a_place_that_has_moved_since_the_transaction_began_is_not_moved,
    an_error_undoes_the_whole_transaction,
    a_session_that_ends_in_a_transaction_leaves_nothing_behind,
    a_session_that_has_ended_is_away,
    the_watermark_only_grows_and_never_passes_the_place,
    a_catalogue_is_known_from_where_it_was_recorded,
    an_order_is_found_with_the_wallet_that_it_holds,
    a_change_of_an_order_leaves_what_cannot_change,
    a_wallet_changes_and_is_found_by_its_name,
    the_heads_of_the_queues_come_oldest_first,
    a_wallet_and_an_order_have_one_open_assignment,
    the_outbox_tells_what_was_kept_in_offset_order,
)
