"""Records as producers make them: large, compressed, in transactions."""

import hashlib

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from schemas.settings import Settings
from schemas.topics import HEADER_LENGTH, HEADER_SHA256, MAX_KEPT_BYTES, names
from tests.integration.allocator_world import (
    Document,
    allocating,
    assert_as_the_rules_say,
    assert_verified,
    assigned,
    dead_letters,
    messages,
    partition_row,
    pending,
    processed,
    publish,
    status,
    transactions,
    wallet,
)
from tests.servers.topics import MEGABYTE, largest_value
from tests.traffic import right_partition
from tests.traffic.messages import Message, keyed

CODECS = ["gzip", "snappy", "lz4", "zstd"]
USDT = right_partition(b"USDT")


async def test_a_megabyte_in_a_field_that_nobody_knows_is_no_obstacle(
    settings: Settings, database: asyncpg.Connection
) -> None:
    log = messages(wallet(1), pending("ord-1", unknown_to_us="x" * MEGABYTE), pending("ord-2"))
    async with allocating(settings):
        await publish(settings, log)
        await processed(settings, database, len(log))
    await assert_as_the_rules_say(settings, database)
    assert await database.fetchval("SELECT order_id FROM assignments") == "ord-1"


async def test_a_dead_letter_that_is_too_large_to_keep_is_known_by_its_length_and_digest(
    settings: Settings, database: asyncpg.Connection
) -> None:
    good = keyed(pending("ord-1"))
    largest = largest_value(b"USDT")
    kept = [
        good._replace(value=b"k" * MAX_KEPT_BYTES),
        good._replace(value=b"k" * MAX_KEPT_BYTES, key=b"k" * MAX_KEPT_BYTES),
        good._replace(value=b"[]", key=b"k" * (MAX_KEPT_BYTES + 1)),
        good._replace(value=b"[]", key=b"k" * MEGABYTE),
    ]
    too_large = [
        good._replace(value=b"g" * (MAX_KEPT_BYTES + 1)),
        good._replace(value=b"g" * MEGABYTE),
        good._replace(value=b"g" * largest),
    ]
    log = [*kept, *too_large, good]
    async with allocating(settings):
        placed = await publish(settings, log)
        with pytest.raises(MessageSizeTooLargeError):
            await publish(settings, [good._replace(value=b"g" * (largest + 1))], enable_idempotence=False)
        await processed(settings, database, len(log))

    rows = await database.fetch('SELECT * FROM dead_letters ORDER BY "offset"')
    letters = await dead_letters(settings)
    assert [row["offset"] for row in rows] == [place.offset for place in placed[:-1]]
    assert len(letters) == len(rows)
    for message, row, letter in zip(log[:-1], rows, letters, strict=True):
        assert message.value is not None
        headers = dict(letter.headers)
        digest = hashlib.sha256(message.value).hexdigest()
        is_kept = message in kept
        key = message.key if len(message.key or b"") <= MAX_KEPT_BYTES else None
        assert (row["key"], letter.key) == (key, key)
        assert row["value"] == letter.value == (message.value if is_kept else None)
        assert (row["value_length"], row["value_sha256"]) == (len(message.value), digest)
        assert headers.get(HEADER_LENGTH) == (None if is_kept else str(len(message.value)).encode())
        assert headers.get(HEADER_SHA256) == (None if is_kept else digest.encode())
    assert await database.fetchval("SELECT order_id FROM orders") == "ord-1"


async def test_records_are_processed_however_they_are_compressed(
    settings: Settings, database: asyncpg.Connection
) -> None:
    log: list[Message] = []
    async with allocating(settings):
        for number, codec in enumerate(CODECS):
            records = messages(wallet(number), *(pending(f"{codec}-{order}") for order in range(20)))
            log += [*records, records[0]._replace(value=f"made with {codec}".encode() * 100)]
            await publish(settings, log[-22:], compression_type=codec)
        await processed(settings, database, len(log))
    await assert_as_the_rules_say(settings, database)
    assert {row["order_id"] for row in await database.fetch("SELECT order_id FROM assignments")} == {
        f"gzip-{order}" for order in range(len(CODECS))
    }


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
async def test_a_compressed_bomb_is_refused_by_the_broker(settings: Settings, codec: str) -> None:
    bomb = keyed(pending("ord-1"))._replace(value=bytes(20 * MEGABYTE))
    with pytest.raises(MessageSizeTooLargeError):
        await publish(settings, [bomb], compression_type=codec, enable_idempotence=False)


async def test_aborted_transactions_are_passed_over_and_committed_ones_count_once(
    settings: Settings, database: asyncpg.Connection
) -> None:
    async with allocating(settings), transactions(settings, f"{settings.topic_prefix}upstream") as producer:
        await transact(settings, producer, wallet(1), pending("committed"))
        await transact(settings, producer, pending("aborted"), status("committed", "completed"), commit=False)
        await publish(settings, messages(pending("behind")))
        await transact(settings, producer, status("committed", "completed"))
        await transact(settings, producer, pending("aborted at the end"), commit=False)
        await processed(settings, database, 4)
        await assigned(database, "committed", "behind")
        await assert_verified(settings)
    row = await partition_row(settings, database, USDT)
    # 2 records and a marker, twice; 1 record; 1 record and a marker. Behind that nothing was there to apply.
    assert (row["next_offset"], row["published_offset"], row["applied"]) == (8, 8, 4)
    await assert_as_the_rules_say(settings, database)


async def test_nothing_behind_an_open_transaction_is_processed_before_its_end(
    settings: Settings, database: asyncpg.Connection
) -> None:
    async with allocating(settings), transactions(settings, f"{settings.topic_prefix}upstream") as producer:
        await producer.begin_transaction()
        (opens,) = messages(pending("first"))
        await producer.send_and_wait(names(settings).orders, opens.value, opens.key, partition=opens.partition)
        await publish(settings, messages(pending("second"), pending("other", "BTC")))
        await processed(settings, database, 1)
        await producer.commit_transaction()
        await processed(settings, database, 3)
    places = await database.fetch("SELECT order_id FROM orders WHERE currency = 'USDT' ORDER BY queue_place")
    assert [row["order_id"] for row in places] == ["first", "second"]


async def transact(settings: Settings, producer: AIOKafkaProducer, *documents: Document, commit: bool = True) -> None:
    """Publish these in one transaction."""
    await producer.begin_transaction()
    for message in messages(*documents):
        await producer.send_and_wait(names(settings).orders, message.value, message.key, partition=message.partition)
    await (producer.commit_transaction() if commit else producer.abort_transaction())
