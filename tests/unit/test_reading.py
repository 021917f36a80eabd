"""From a record's bytes to an entry: what is said of a record without the state."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consumers.allocator.reading import Reader
from consumers.allocator.state import Entry
from consumers.messages import partition_of
from schemas.catalogue import Catalogue, read_catalogue
from schemas.examples import EXAMPLES
from tests.reference import PARTITIONS, right_partition

PENDING = EXAMPLES["order_status_changed"][0] | {"expires_at": None}
TRACEPARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
AT_MS = 1_795_363_200_123
AT = datetime(2026, 11, 22, 16, 0, 0, 123_000, UTC)


@dataclass
class Record:
    value: bytes | None
    key: bytes | None = b"USDT"
    offset: int = 7
    timestamp: int = AT_MS
    headers: Sequence[tuple[str, Any]] = ()


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return read_catalogue()


def read(catalogue: Catalogue, record: Record, partition: int | None = None) -> Entry:
    own = right_partition(b"USDT") if partition is None else partition
    return Reader(catalogue, own, PARTITIONS).read(record)


def event(base: dict[str, Any] = PENDING, **changes: Any) -> bytes:
    return json.dumps({name: content for name, content in (base | changes).items() if content is not None}).encode()


def test_times_are_the_records_own(catalogue: Catalogue) -> None:
    entry = read(catalogue, Record(event()))
    assert (entry.refusal, entry.offset, entry.at) == (None, 7, AT)
    assert entry.expires_at == AT + timedelta(minutes=90)


def test_a_given_expiry_is_kept_to_the_microsecond_in_utc(catalogue: Catalogue) -> None:
    entry = read(catalogue, Record(event(expires_at="2026-11-22T23:00:00.123456+05:30")))
    assert str(entry.expires_at) == "2026-11-22 17:30:00.123456+00:00"


@pytest.mark.parametrize("timestamp", [-1, -(2**63), 2**63 - 1, 253_402_300_800_000])
def test_a_time_that_no_database_holds_is_moved_into_bounds(catalogue: Catalogue, timestamp: int) -> None:
    entry = read(catalogue, Record(event(), timestamp=timestamp))
    assert entry.refusal is None
    assert datetime(1970, 1, 1, tzinfo=UTC) <= entry.at <= datetime(3000, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([("traceparent", TRACEPARENT)], TRACEPARENT.decode()),
        ([("traceparent", b""), ("traceparent", None), ("traceparent", TRACEPARENT)], TRACEPARENT.decode()),
        ([("Traceparent", TRACEPARENT)], None),
        ([("traceparent", TRACEPARENT.upper())], None),
        ([("traceparent", TRACEPARENT + b"\n")], None),
        ([("traceparent", b"\xff\x00")], None),
        ([("", b""), ("other", b"\xff")], None),
    ],
)
def test_a_trace_is_taken_where_it_is_one(
    catalogue: Catalogue, headers: list[tuple[str, bytes | None]], found: str | None
) -> None:
    assert read(catalogue, Record(event(), headers=headers)).traceparent == found
    assert read(catalogue, Record(b"nonsense", headers=headers)).traceparent == found


@pytest.mark.parametrize(
    ("value", "key", "reason"),
    [
        (None, b"USDT", "invalid_event"),
        (event(amount="250.0000001"), b"USDT", "invalid_event"),
        (event(currency="DOGE"), b"DOGE", "unknown_currency"),
        (event(), None, "wrong_key"),
        (event(), b"usdt", "wrong_key"),
        (event(network="TRC20"), b"USDT", "unknown_network"),
        (event(network=None), b"USDT", "network_required"),
        (event(amount="5000.01"), b"USDT", "amount_out_of_range"),
        # what is wrong in two ways has the reason that comes first, whoever reads it
        (event(currency="DOGE"), b"USDT", "unknown_currency"),
        (event(network="TRC20", amount="5000.01"), b"BTC", "wrong_key"),
        (event(network=None, amount="5000.01"), b"USDT", "network_required"),
    ],
)
def test_a_record_is_refused_with_its_bytes(
    catalogue: Catalogue, value: bytes | None, key: bytes | None, reason: str
) -> None:
    entry = read(catalogue, Record(value, key))
    assert entry.refusal is not None
    assert (entry.refusal.reason, entry.event, entry.key, entry.value) == (reason, None, key, value)


@pytest.mark.parametrize("currency", ["BTC", "ETH", "LTC", "USDT"])
def test_a_currency_belongs_to_the_partition_of_the_java_client(catalogue: Catalogue, currency: str) -> None:
    key = currency.encode()
    assert partition_of(key, PARTITIONS) == right_partition(key)
    final = event({"type": "order_status_changed", "order_id": "o", "currency": currency, "status": "completed"})
    for partition in range(PARTITIONS):
        refusal = read(catalogue, Record(final, key), partition).refusal
        assert (refusal is None) == (partition == right_partition(key))
        assert refusal is None or refusal.reason == "wrong_partition"


def test_limits_are_inclusive_and_the_amount_is_kept_as_it_is_written(catalogue: Catalogue) -> None:
    for amount in ("10", "0010.000000", "5000", "5000.0"):
        entry = read(catalogue, Record(event(amount=amount)))
        assert entry.refusal is None
        assert entry.event is not None
        assert getattr(entry.event, "amount", None) == amount


def test_a_final_status_needs_nothing_but_its_order(catalogue: Catalogue) -> None:
    bare = {"type": "order_status_changed", "order_id": "o", "currency": "USDT", "status": "failed"}
    entry = read(catalogue, Record(event(bare, amount="1.0000000000", network="TRC20", expires_at="soon")))
    assert entry.refusal is None
    assert (entry.network, entry.dropped_fields) == (None, 2)  # the amount has too many decimals


def test_a_known_order_of_a_currency_that_has_gone_may_go_on(catalogue: Catalogue) -> None:
    code = next(code for code in (f"X{n}" for n in range(100)) if right_partition(code.encode()) == 2)
    assert right_partition(b"USDT") == 2
    final = {"type": "order_status_changed", "order_id": "o", "currency": code, "status": "failed"}
    entry = read(catalogue, Record(event(final), code.encode()))
    assert (entry.refusal, entry.in_catalogue) == (None, False)
    elsewhere = read(catalogue, Record(event(final), code.encode()), 3)
    assert elsewhere.refusal is not None
    assert elsewhere.refusal.reason == "wrong_partition"
