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
from schemas.events import FINAL, Event, InvalidEvent, OrderStatusChanged, parse_event

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
        try:
            event, dropped_fields = parse_event(record.value)
        except InvalidEvent as error:
            return self._refused(record, at, Refusal(Reason.INVALID_EVENT, str(error)))
        currency = self._catalogue.currencies.get(event.currency)
        new = not isinstance(event, OrderStatusChanged) or event.status == "pending"
        if currency is not None and _has_too_many_decimals(event, currency):
            if not _is_final(event):
                message = f"amount: has more than {currency.decimals} decimals, the most that {event.currency} has"
                return self._refused(record, at, Refusal(Reason.INVALID_EVENT, message))
            dropped_fields += 1
        refusal = self._check_place(event.currency, record.key, known=currency is not None, new=new)
        network = address = expires_at = None
        if refusal is None and currency is not None and not _is_final(event):
            network = event.network or (currency.only_network if new else None)
            refusal = _check_network(event.currency, currency, network, required=new)
            if refusal is None and network is not None and new:
                if isinstance(event, OrderStatusChanged):
                    refusal = _check_limits(event.currency, currency, event.amount or "")
                    expires_at = event.expires_at.astimezone(UTC) if event.expires_at else at + self._catalogue.expiry
                else:
                    address, refusal = _normalised(currency, network, event.address)
        if refusal is not None:
            return self._refused(record, at, refusal, dropped_fields)
        return Entry(
            record.offset,
            at,
            event,
            None,
            network,
            address,
            expires_at,
            currency is not None,
            dropped_fields,
            _traceparent(record.headers) if record.headers else None,
            record.key,
            record.value,
        )

    def _refused(self, record: Record, at: datetime, refusal: Refusal, dropped_fields: int = 0) -> Entry:
        return Entry(
            record.offset,
            at,
            refusal=refusal,
            dropped_fields=dropped_fields,
            traceparent=_traceparent(record.headers),
            key=record.key,
            value=record.value,
        )

    def _check_place(self, code: str, key: bytes | None, *, known: bool, new: bool) -> Refusal | None:
        """Whether the record is where its currency belongs. Of a currency that the catalogue has no more, an order
        that is known may still go on."""
        right_key = key == code.encode()
        if not known and (new or not right_key):
            return Refusal(Reason.UNKNOWN_CURRENCY, f"the catalogue has no currency {code}")
        if not right_key or key is None:
            return Refusal(Reason.WRONG_KEY, f"the key must be the currency {code}")
        if not self._is_own(key):
            right = partition_of(key, self._partition_count)
            return Refusal(
                Reason.WRONG_PARTITION,
                f"the key {code} belongs to partition {right} (murmur2, as the Java client's default partitioner)",
            )
        return None

    def _is_own(self, key: bytes) -> bool:
        own = self._own_keys.get(key)
        if own is None:
            # Only keys that are a currency of the catalogue, or of an order that is known, come here: few.
            own = partition_of(key, self._partition_count) == self._partition
            if len(self._own_keys) < 10_000:
                self._own_keys[key] = own
        return own


def _is_final(event: Event) -> bool:
    return isinstance(event, OrderStatusChanged) and event.status in FINAL


def _has_too_many_decimals(event: Event, currency: Currency) -> bool:
    if not isinstance(event, OrderStatusChanged) or event.amount is None:
        return False
    return len(event.amount.partition(".")[2]) > currency.decimals


def _check_network(code: str, currency: Currency, network: str | None, *, required: bool) -> Refusal | None:
    if network in currency.networks or (network is None and not required):
        return None
    known = ", ".join(currency.networks)
    if network is None:
        return Refusal(Reason.NETWORK_REQUIRED, f"{code} has several networks; name one of {known}")
    return Refusal(Reason.UNKNOWN_NETWORK, f"{code} has no network {network}; it has {known}")


def _check_limits(code: str, currency: Currency, amount: str) -> Refusal | None:
    if currency.min_amount <= Decimal(amount) <= currency.max_amount:
        return None
    return Refusal(
        Reason.AMOUNT_OUT_OF_RANGE,
        f"amount {amount} is not within {currency.min_amount} to {currency.max_amount} {code}",
    )


def _normalised(currency: Currency, network: str, address: str) -> tuple[str | None, Refusal | None]:
    try:
        return normalise(currency.networks[network].address, address), None
    except InvalidAddress as error:
        return None, Refusal(Reason.INVALID_ADDRESS, f"no address of {network}: {error}")


def _traceparent(headers: Sequence[tuple[str, bytes]]) -> str | None:
    for name, value in headers:
        if name == "traceparent" and _TRACEPARENT.fullmatch(value or b""):
            return value.decode()
    return None
