"""From a record's bytes to an entry: everything that can be said of a record without the state."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Protocol

from aiokafka.partitioner import murmur2

from consumers.allocator.state import Entry, Reason, Refusal
from schemas.addresses import InvalidAddress, normalise
from schemas.catalogue import Catalogue, Currency
from schemas.events import FINAL, InvalidEvent, OrderStatusChanged, Parsed, parse_event

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_MS = 32_503_680_000_000  # the year 3000; only a topic without LogAppendTime can hold more
# W3C Trace Context, version 00 and those to come
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class Record(Protocol):
    """What is used of a consumer record: bytes, milliseconds since the epoch."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


def partition_of(key: bytes, partition_count: int) -> int:
    """The partition of a key as the Java client's default partitioner has it: murmur2 without its sign, modulo."""
    return int((murmur2(key) & 0x7FFFFFFF) % partition_count)


class Reader:
    """Reads the records of one partition under one catalogue."""

    def __init__(self, catalogue: Catalogue, partition: int, partition_count: int) -> None:
        self._catalogue = catalogue
        self._partition = partition
        self._partition_count = partition_count
        self._own_keys: dict[bytes, bool] = {}

    def read(self, record: Record) -> Entry:
        """The record as an entry; refused where it is invalid, never an error."""
        at = _EPOCH + timedelta(milliseconds=min(max(record.timestamp, 0), _LATEST_MS))
        traceparent = _traceparent(record.headers) if record.headers else None
        refused = Entry(record.offset, at, traceparent=traceparent, key=record.key, value=record.value)
        try:
            parsed = parse_event(record.value)
        except InvalidEvent as error:
            return refused._replace(refusal=Refusal(Reason.INVALID_EVENT, str(error)))
        checked = self._check(parsed, record.key, refused)
        return refused._replace(refusal=checked) if isinstance(checked, Refusal) else checked

    def _check(self, parsed: Parsed, key: bytes | None, entry: Entry) -> Entry | Refusal:
        event = parsed.event
        currency = self._catalogue.currencies.get(event.currency)
        new = not isinstance(event, OrderStatusChanged) or event.status == "pending"
        right_key = key == event.currency.encode()
        if currency is None and (new or not right_key):
            return Refusal(Reason.UNKNOWN_CURRENCY, f"the catalogue has no currency {event.currency}")
        if not right_key or key is None:
            return Refusal(Reason.WRONG_KEY, f"the key must be the currency {event.currency}")
        if not self._is_own(key):
            return Refusal(
                Reason.WRONG_PARTITION,
                f"the key {event.currency} belongs to partition {partition_of(key, self._partition_count)} "
                "(murmur2, as the Java client's default partitioner has it)",
            )
        entry = entry._replace(event=event, dropped_fields=parsed.dropped_fields)
        if currency is None:
            return entry._replace(in_catalogue=False)
        if isinstance(event, OrderStatusChanged) and event.status in FINAL:
            return entry
        network = event.network or (currency.only_network if new else None)
        if network is None:
            if not new:
                return entry
            known = ", ".join(currency.networks)
            return Refusal(Reason.NETWORK_REQUIRED, f"{event.currency} has several networks; name one of {known}")
        if network not in currency.networks:
            known = ", ".join(currency.networks)
            return Refusal(Reason.UNKNOWN_NETWORK, f"{event.currency} has no network {network}; it has {known}")
        if not isinstance(event, OrderStatusChanged):
            try:
                address = normalise(currency.networks[network].address, event.address)
            except InvalidAddress as error:
                return Refusal(Reason.INVALID_ADDRESS, f"no address of {network}: {error}")
            return entry._replace(network=network, address=address)
        if new:
            refusal = _check_amount(currency, event.currency, event.amount or "")
            if refusal is not None:
                return refusal
        expires_at = event.expires_at.astimezone(UTC) if event.expires_at else entry.at + self._catalogue.expiry
        return entry._replace(network=network, expires_at=expires_at)

    def _is_own(self, key: bytes) -> bool:
        own = self._own_keys.get(key)
        if own is None:
            # Only keys that are a currency of the catalogue, or of an order that is known, come here: few.
            own = partition_of(key, self._partition_count) == self._partition
            if len(self._own_keys) < 10_000:
                self._own_keys[key] = own
        return own


def _check_amount(currency: Currency, code: str, amount: str) -> Refusal | None:
    decimals = len(amount.partition(".")[2])
    if decimals > currency.decimals:
        return Refusal(Reason.INVALID_EVENT, f"amount: has {decimals} decimals, {code} has {currency.decimals} at most")
    if not currency.min_amount <= Decimal(amount) <= currency.max_amount:
        return Refusal(
            Reason.AMOUNT_OUT_OF_RANGE,
            f"amount {amount} is not within {currency.min_amount} to {currency.max_amount} {code}",
        )
    return None


def _traceparent(headers: Sequence[tuple[str, bytes]]) -> str | None:
    for name, value in headers:
        if name == "traceparent" and _TRACEPARENT.fullmatch(value or b""):
            return value.decode()
    return None
