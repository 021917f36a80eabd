"""The traffic generators: repeatable, as good or as hostile as they say, and quick."""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice

import pytest
from hypothesis import given, settings

from tests.reference import PARTITIONS, SHIPPED, Record, normalised, replay
from tests.traffic import (
    Message,
    address,
    as_records,
    crc32_partition,
    events,
    hostile,
    kinds,
    lifecycle,
    logs,
    misspelt,
    murmur2,
    respelt,
    right_partition,
)

NETWORKS = [network for known in SHIPPED.values() for network in known.networks]
REASONS = {
    "amount_out_of_range",
    "conflicting_order",
    "invalid_address",
    "invalid_event",
    "invalid_transition",
    "network_required",
    "no_wallet",
    "unknown_currency",
    "unknown_network",
    "unknown_order",
    "unknown_wallet",
    "wrong_key",
    "wrong_partition",
}


@pytest.mark.parametrize("generate", [lifecycle, hostile])
def test_same_seed_gives_the_same_messages(generate: Callable[[int, int], Iterator[Message]]) -> None:
    assert list(generate(3, 800)) == list(generate(3, 800))
    assert list(generate(3, 200)) != list(generate(4, 200))


@pytest.mark.parametrize("count", [0, 1, 60, 777])
def test_generators_give_exactly_as_many_messages_as_asked(count: int) -> None:
    assert len(list(lifecycle(1, count))) == count
    assert len(list(hostile(1, count))) == count


def test_lifecycle_has_no_dead_letter_and_no_idle_record() -> None:
    model = replay(as_records(lifecycle(7, 8_000)))
    assert model.dead_letters == []
    assert model.counts["applied"] == 8_000


def test_lifecycle_has_orders_that_wait_and_orders_that_do_not() -> None:
    model = replay(as_records(lifecycle(7, 12_000, wallets=5)))
    waited = Counter(made.waited for made in model.assignments)
    assert min(waited[True], waited[False]) > 500
    statuses = Counter(order.status for order in model.orders.values())
    assert {"completed", "cancelled", "failed", "pending", "paid", "processing"} <= set(statuses)
    assert {"available", "occupied", "retired"} <= {wallet.status for wallet in model.wallets.values()}


def test_lifecycle_spells_addresses_in_one_form_where_asked() -> None:
    events = [json.loads(message.value or b"") for message in lifecycle(7, 3_000, respelt=0.0)]
    spelt = [(event["currency"], event["address"]) for event in events if "address" in event]
    networks = {"BTC": "bitcoin", "ETH": "ethereum", "LTC": "litecoin"}
    assert len(spelt) > len(set(spelt)) > 120
    assert all(normalised(networks[code], one) == one for code, one in spelt if code in networks)


def test_lifecycle_can_be_of_some_currencies_only() -> None:
    assert {message.key for message in lifecycle(1, 500, ["BTC", "LTC"])} == {b"BTC", b"LTC"}


@pytest.mark.parametrize("seed", range(3))
def test_hostile_traffic_has_every_reason_and_still_moves_wallets(seed: int) -> None:
    messages = list(hostile(seed, 1_500))
    model = replay(as_records(messages))
    assert {dead.reason for dead in model.dead_letters} == REASONS
    assert sum(made.waited for made in model.assignments) > 10
    assert min(model.counts[name] for name in ("applied", "no_effect", "dropped_fields")) > 50


def test_hostile_traffic_has_every_kind_of_hostile_record() -> None:
    messages = list(hostile(1, 1_500))
    values = [message.value or b"" for message in messages]
    assert None in {message.value for message in messages}
    assert b"" in values
    assert any(b"[" * 20_000 in value for value in values)
    assert any(1_000_000 <= len(value) < 1_040_000 for value in values)
    for text in (b"\\u0000", b"\\ud800", b"NaN", b"Infinity", b"9" * 400, b"\\r\\nBcc", b"\xef\xbb\xbf"):
        assert any(text in value for value in values), text
    keyless = [message for message in messages if message.key is None]
    assert keyless
    crc32ed = [
        message
        for message in messages
        if message.key and message.partition == crc32_partition(message.key) != right_partition(message.key)
    ]
    assert crc32ed
    assert len(kinds()) == len(set(kinds())) > 30


def test_share_decides_how_much_of_the_traffic_is_hostile() -> None:
    mild, rough = (replay(as_records(hostile(1, 1_000, share))).dead_letters for share in (0.02, 0.9))
    assert len(mild) < len(rough)


def test_messages_are_what_a_producer_takes() -> None:
    for message in [*lifecycle(1, 300), *hostile(1, 600)]:
        assert message.partition in range(PARTITIONS)
        assert type(message.key) in (bytes, type(None))
        assert type(message.value) in (bytes, type(None))
        assert all(name == "traceparent" and type(value) is bytes for name, value in message.headers)


@pytest.mark.parametrize("network", NETWORKS)
def test_addresses_are_valid_in_every_spelling_and_invalid_when_misspelt(network: str) -> None:
    rng = random.Random(1)
    for _ in range(50):
        one_form = address(network, rng)
        assert normalised(network, one_form) == one_form
        assert normalised(network, respelt(network, one_form, rng)) == one_form
        assert normalised(network, misspelt(one_form, rng)) is None


def test_librdkafka_picks_another_partition_for_every_shipped_currency() -> None:
    for currency in SHIPPED:
        assert right_partition(currency.encode()) != crc32_partition(currency.encode())


def test_murmur2_is_that_of_the_java_client() -> None:
    # org.apache.kafka.common.utils.UtilsTest.testMurmur2, there as signed numbers
    for key, signed in ((b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536)):
        assert murmur2(key) == signed % 2**32


def test_records_have_offsets_from_zero_and_growing_times() -> None:
    records = list(as_records(islice(lifecycle(1, 400), 400)))
    for partition in {record.partition for record in records}:
        offsets = [record.offset for record in records if record.partition == partition]
        assert offsets == list(range(len(offsets)))
    times = [record.timestamp_ms for record in records]
    assert times == sorted(set(times))


@settings(max_examples=50, deadline=None)
@given(event=events())
def test_drawn_events_are_json_with_a_currency(event: dict[str, object]) -> None:
    assert json.loads(json.dumps(event))["currency"]


@settings(max_examples=50, deadline=None)
@given(records=logs())
def test_drawn_logs_have_growing_offsets(records: list[Record]) -> None:
    places = [(record.partition, record.offset) for record in records]
    assert len(set(places)) == len(places)
    assert sorted(places) == sorted(places, key=lambda place: place[0])
