"""From a record's bytes to an entry: everything that can be said of a record without the state."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple, Protocol

from consumers.allocator.state import Entry, Reason, Refusal
from consumers.messages import partition_of
from schemas.addresses import InvalidAddress, normalise
from schemas.catalogue import Catalogue, Currency
from schemas.events import FINAL, InvalidEvent, OrderStatusChanged, parse_event
from schemas.trace import read_traceparent

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_MS = 32_503_680_000_000  # the year 3000; only a topic without LogAppendTime can hold more


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


class _Known(NamedTuple):
    """What is asked of a currency for each record."""

    currency: Currency
    key: bytes
    own: bool
    "Whether its records belong to the reader's partition."


class Reader:
    """Reads the records of one partition under one catalogue."""

    def __init__(self, catalogue: Catalogue, partition: int, partition_count: int) -> None:
        self._expiry = catalogue.expiry
        self._partition = partition
        self._partition_count = partition_count
        self._at_ms = -1
        self._at = self._expires_at = _EPOCH
        "The last record's time, and when its order expires; records of one batch of the broker's have one time."
        self._known = {
            code: _Known(currency, code.encode(), partition_of(code.encode(), partition_count) == partition)
            for code, currency in catalogue.currencies.items()
        }

    def read(self, record: Record) -> Entry:
        """The record as an entry; refused where it is invalid, never an error."""
        if record.timestamp != self._at_ms:
            self._at_ms = record.timestamp
            self._at = _EPOCH + timedelta(milliseconds=min(max(record.timestamp, 0), _LATEST_MS))
            self._expires_at = self._at + self._expiry
        at = self._at
        try:
            event, dropped_fields = parse_event(record.value)
        except InvalidEvent as error:
            return self._refused(record, at, Refusal(Reason.INVALID_EVENT, str(error)))
        code = event.currency
        status = event.status if isinstance(event, OrderStatusChanged) else None
        known = self._known.get(code)
        network = address = expires_at = refusal = None
        if known is None:
            refusal = self._check_unknown(code, record.key, status)
        else:
            currency, key, own = known
            if isinstance(event, OrderStatusChanged) and event.amount is not None:
                decimals = len(event.amount.partition(".")[2])
                if decimals > currency.decimals and status in FINAL:
                    dropped_fields += 1
                elif decimals > currency.decimals:
                    message = f"amount: has {decimals} decimals, {code} has {currency.decimals} at most"
                    refusal = Refusal(Reason.INVALID_EVENT, message)
            if refusal is None and (record.key != key or not own):
                refusal = self._misplaced(code, record.key)
            elif refusal is None and status not in FINAL:
                network = event.network
                new = status is None or status == "pending"
                if network is None and new:
                    network = currency.only_network
                if network not in currency.networks and (network is not None or new):
                    refusal = _wrong_network(code, currency, network)
                elif status == "pending" and isinstance(event, OrderStatusChanged):
                    refusal = _check_limits(code, currency, event.amount or "")
                    given = event.expires_at
                    expires_at = self._expires_at if given is None else given.astimezone(UTC)
                elif not isinstance(event, OrderStatusChanged) and network is not None:
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
            known is not None,
            dropped_fields,
            read_traceparent(record.headers) if record.headers else None,
            record.key,
            record.value,
        )

    def _refused(self, record: Record, at: datetime, refusal: Refusal, dropped_fields: int = 0) -> Entry:
        return Entry(
            record.offset,
            at,
            refusal=refusal,
            dropped_fields=dropped_fields,
            traceparent=read_traceparent(record.headers),
            key=record.key,
            value=record.value,
        )

    def _check_unknown(self, code: str, key: bytes | None, status: str | None) -> Refusal | None:
        """The catalogue has no such currency. An order that is known from before may still go on, in its place."""
        if status is None or status == "pending" or key != code.encode():
            return Refusal(Reason.UNKNOWN_CURRENCY, f"the catalogue has no currency {code}")
        if partition_of(key, self._partition_count) != self._partition:
            return self._misplaced(code, key)
        return None

    def _misplaced(self, code: str, key: bytes | None) -> Refusal:
        if key != code.encode():
            return Refusal(Reason.WRONG_KEY, f"the key must be the currency {code}")
        right = partition_of(key, self._partition_count)
        return Refusal(
            Reason.WRONG_PARTITION,
            f"the key {code} belongs to partition {right} (murmur2, as the Java client's default partitioner)",
        )


def _wrong_network(code: str, currency: Currency, network: str | None) -> Refusal:
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
