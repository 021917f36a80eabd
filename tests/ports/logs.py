"""What the log and the publisher promise."""

import asyncio

from consumers.allocator.outbox import notification_message
from consumers.allocator.ports import Source
from schemas.topics import PARTITIONS, Names
from tests.ports.backend import Backend, Promise
from tests.ports.rows import dead_letter, notification

SECONDS = 5.0
SOON_SECONDS = 0.3


async def read(source: Source, count: int, most: int = 10) -> list[tuple[int, bytes | None]]:
    """So many records, however many fetches it takes."""
    found: list[tuple[int, bytes | None]] = []
    while len(found) < count:
        records = await source.fetch(most, SECONDS)
        assert records, f"only {found} came"
        assert len(records) <= most
        found += [(record.offset, record.value) for record in records]
    return found


async def nothing_comes_before_the_first_seek(backend: Backend) -> None:
    await backend.append(b"a")
    source = await backend.source()
    assert list(await source.fetch(10, SOON_SECONDS)) == []
    source.seek(0)
    assert await read(source, 1) == [(0, b"a")]


async def records_come_in_order_and_each_once(backend: Backend) -> None:
    await backend.append(b"a", b"b", b"c", b"d", b"e")
    source = await backend.source()
    source.seek(0)
    assert await read(source, 5, most=2) == list(enumerate([b"a", b"b", b"c", b"d", b"e"]))
    assert list(await source.fetch(10, SOON_SECONDS)) == []
    await backend.append(b"f")
    assert await read(source, 1) == [(5, b"f")]


async def a_seek_goes_back_and_forth(backend: Backend) -> None:
    await backend.append(b"a", b"b", b"c")
    source = await backend.source()
    source.seek(2)
    assert await read(source, 1) == [(2, b"c")]
    source.seek(1)
    assert await read(source, 2) == [(1, b"b"), (2, b"c")]


async def what_comes_during_a_rest_comes_after_it(backend: Backend) -> None:
    await backend.append(b"a")
    source = await backend.source()
    source.seek(0)
    assert await read(source, 1) == [(0, b"a")]
    await asyncio.gather(source.rest(SOON_SECONDS), backend.append(b"b", b"c"))
    assert await read(source, 2) == [(1, b"b"), (2, b"c")]


async def a_seek_ends_a_rest_that_was_given_up(backend: Backend) -> None:
    await backend.append(b"a")
    source = await backend.source()
    source.seek(0)
    resting = asyncio.create_task(source.rest(60.0))
    await asyncio.sleep(0)  # it begins
    resting.cancel()
    await asyncio.wait({resting})
    source.seek(0)
    assert await read(source, 1) == [(0, b"a")]


async def gaps_are_passed_over(backend: Backend) -> None:
    await backend.append(b"a")
    await backend.leave_gap()
    await backend.append(b"b")
    source = await backend.source()
    source.seek(1)  # where there is no record
    [(offset, value)] = await read(source, 1)
    assert (offset >= 2, value) == (True, b"b")


async def the_log_says_where_it_begins_and_ends(backend: Backend) -> None:
    await backend.append(b"a", b"b")
    log = await (await backend.source()).describe()
    assert (log.partition_count, log.start, log.end) == (PARTITIONS, 0, 2)
    await backend.leave_gap()
    assert (await (await backend.source()).describe()).end >= 3


async def everything_is_published_when_publish_returns(backend: Backend) -> None:
    publisher = backend.publisher()
    first, second = notification("ord-1", "T1", 4), notification("ord-1", "T2", 6)
    await publisher.publish(0, [first, dead_letter(5), second, dead_letter(7)])
    found = await backend.published()
    told = [message.value for message in found if message.key == b"ord-1"]
    assert told == [notification_message(Names(), kept).value for kept in (first, second)]
    refused = [message for message in found if message.key == b"USDT"]
    assert [message.value for message in refused] == [b"{", b"{"]
    assert [dict(message.headers)["__walletq.errors.offset"] for message in refused] == [b"5", b"7"]


async def what_is_published_again_has_the_same_bytes(backend: Backend) -> None:
    for publisher in (backend.publisher(), backend.publisher()):
        await publisher.publish(0, [notification("ord-1", "T1", 4), dead_letter(5)])
    found = await backend.published()
    assert len(found) == 4
    assert len({(message.topic, message.key, message.value, tuple(message.headers)) for message in found}) == 2


async def nothing_to_publish_is_nothing_to_wait_for(backend: Backend) -> None:
    await backend.publisher().publish(0, [])
    assert await backend.published() == []


LOG_PROMISES: tuple[Promise, ...] = (
    nothing_comes_before_the_first_seek,
    records_come_in_order_and_each_once,
    a_seek_goes_back_and_forth,
    what_comes_during_a_rest_comes_after_it,
    a_seek_ends_a_rest_that_was_given_up,
    gaps_are_passed_over,
    the_log_says_where_it_begins_and_ends,
)
PUBLISHER_PROMISES: tuple[Promise, ...] = (
    everything_is_published_when_publish_returns,
    what_is_published_again_has_the_same_bytes,
    nothing_to_publish_is_nothing_to_wait_for,
)
