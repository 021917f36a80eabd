"""The publisher against a real Kafka."""

import asyncio
from datetime import UTC, datetime

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from producers.publisher import Publisher
from schemas.events import InvalidEvent, WalletAdded, WalletAssigned, parse_event
from schemas.examples import EXAMPLES
from schemas.settings import Settings
from schemas.topics import PARTITIONS, names
from storage.errors import ServerUnreachable, TopicMissing
from storage.kafka import client_options
from tests.reference.records import right_partition
from tests.servers.servers import Servers

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_event_is_on_the_partition_of_its_currency_when_publish_returns(settings: Settings) -> None:
    event = wallet("BTC", 1)
    async with Publisher(settings) as publisher:
        place = await publisher.publish(event, traceparent=TRACEPARENT)
    (record,) = await records(settings)
    assert (record.partition, record.offset) == place
    assert record.partition == right_partition(b"BTC")
    assert record.key == b"BTC"
    assert parse_event(record.value).event == event
    assert list(record.headers) == [("traceparent", TRACEPARENT.encode())]


async def test_many_events_keep_the_order_of_their_currency(settings: Settings) -> None:
    events = [wallet(currency, number) for number in range(1_000) for currency in ("BTC", "ETH", "LTC")]
    async with Publisher(settings) as publisher:
        places = await publisher.publish_many(iter(events))
    found = {(record.partition, record.offset): parse_event(record.value).event for record in await records(settings)}
    assert [found[place] for place in places] == events
    for currency in ("BTC", "ETH", "LTC"):
        offsets = [place.offset for place, event in zip(places, events, strict=True) if event.currency == currency]
        assert offsets == sorted(offsets)


async def test_nothing_is_sent_where_one_event_is_not_as_the_contract_says(settings: Settings) -> None:
    broken = wallet("BTC", 2)
    object.__setattr__(broken, "address", "x" * 200)
    async with Publisher(settings) as publisher:
        with pytest.raises(InvalidEvent):
            await publisher.publish_many([wallet("BTC", 1), broken])
        assert await publisher.publish_many([]) == []
        notification = WalletAssigned.model_validate(EXAMPLES["wallet_assigned"][0])
        with pytest.raises(TypeError, match="WalletAssigned"):
            await publisher.publish(notification)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="traceparent"):
            await publisher.publish(wallet("BTC", 1), traceparent="00-nonsense")
    assert await records(settings) == []


async def test_missing_topic_is_named(settings: Settings) -> None:
    with pytest.raises(TopicMissing, match="nowhere-order-status"):
        async with Publisher(settings.model_copy(update={"topic_prefix": "nowhere-"})):
            pass


async def test_server_that_does_not_answer_is_named() -> None:
    with pytest.raises(ServerUnreachable, match="WALLETQ_KAFKA_BOOTSTRAP_SERVERS"):
        async with Publisher(Settings(kafka_bootstrap_servers="127.0.0.1:1")):
            pass


async def test_publisher_goes_on_after_an_outage(settings: Settings, servers: Servers) -> None:
    async with Publisher(settings, timeout_seconds=2) as publisher:
        await publisher.publish(wallet("BTC", 1))
        await servers.pause("kafka")
        with pytest.raises(ServerUnreachable):
            await publisher.publish(wallet("BTC", 2))
        await servers.unpause("kafka")
        await publisher.publish(wallet("BTC", 3))
    ids = [parse_event(record.value).event.event_id for record in await records(settings)]
    # Nobody can say whether the second went out: its acknowledgement did not come.
    assert [number for number in ids if number != "2"] == ["1", "3"]


def wallet(currency: str, number: int) -> WalletAdded:
    return WalletAdded(
        type="wallet_added", event_id=str(number), currency=currency, address="a", occurred_at=datetime.now(UTC)
    )


async def records(settings: Settings) -> list[ConsumerRecord]:
    """Everything on order-status."""
    partitions = [TopicPartition(names(settings).orders, number) for number in range(PARTITIONS)]
    consumer = AIOKafkaConsumer(**client_options(settings), enable_auto_commit=False, auto_offset_reset="earliest")
    async with asyncio.timeout(30), consumer:
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        left = sum((await consumer.end_offsets(partitions)).values())
        found: list[ConsumerRecord] = []
        while len(found) < left:
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                found += batch
    return sorted(found, key=lambda record: (record.partition, record.offset))
