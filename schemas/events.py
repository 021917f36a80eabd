"""The events on `order-status` and `wallet-notifications`: one discriminated union on `type`.

Within a type only optional fields are ever added; a breaking change is a new `type`. Unknown fields are ignored.
"""

import dataclasses
import hashlib
import json
import re
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple
from uuid import NAMESPACE_URL, UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from schemas.fields import AddressText, Amount, Email, EventId, FreeText, Identifier, Locale, Name, Time

Status = Literal["pending", "paid", "processing", "completed", "cancelled", "failed"]
FINAL = frozenset({"completed", "cancelled", "failed"})
PAYMENT_TIMEOUT = "payment_timeout"

# A string without an end goes to the end of the value: looked at again from each of its quotes it would take hours.
_BRACKETS = re.compile(rb'[\[\]{}]|"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_DEEPEST = 500
_N, _I = b"NI"

_MODEL = ConfigDict(extra="ignore", hide_input_in_errors=True)

# Data classes with slots: an allocator has tens of thousands of events in hand, and each takes a quarter of what it
# would as a BaseModel.


@dataclass(frozen=True, slots=True, kw_only=True, config=_MODEL)
class Recipient:
    """Who gets the mail."""

    email: Email
    locale: Locale | None = None
    "English where it is left out."


_NEEDS_BY_STATUS = ConfigDict(
    json_schema_extra={
        "allOf": [
            {
                "if": {"properties": {"status": {"enum": ["pending", "paid", "processing"]}}},
                "then": {"required": ["event_id", "occurred_at"]},
            },
            {
                "if": {"properties": {"status": {"const": "pending"}}},
                "then": {"required": ["amount", "recipient"]},
            },
        ]
    }
)


@dataclass(frozen=True, slots=True, kw_only=True, config=_MODEL | _NEEDS_BY_STATUS)
class OrderStatusChanged:
    """An order has a new status. `pending` needs amount and recipient; a final status needs no more than
    type, currency, order_id and status."""

    type: Literal["order_status_changed"]
    event_id: EventId | None = None
    order_id: Identifier
    currency: Name
    network: Name | None = None
    status: Status
    amount: Amount | None = None
    recipient: Recipient | None = None
    expires_at: Time | None = None
    reason: FreeText | None = None
    actor: FreeText | None = None
    occurred_at: Time | None = None

    @model_validator(mode="after")
    def _has_what_its_status_needs(self) -> "OrderStatusChanged":
        whole = self.event_id is not None and self.occurred_at is not None
        if self.status == "pending":
            whole = whole and self.amount is not None and self.recipient is not None
        if whole or self.status in FINAL:
            return self
        needed = ("event_id", "occurred_at") + (("amount", "recipient") if self.status == "pending" else ())
        missing = ", ".join(name for name in needed if getattr(self, name) is None)
        raise PydanticCustomError(
            "missing_for_status", "status {status} needs {fields}", {"status": self.status, "fields": missing}
        )


@dataclass(frozen=True, slots=True, kw_only=True, config=_MODEL)
class WalletAdded:
    """A wallet joins its pool, or comes back to it."""

    type: Literal["wallet_added"]
    event_id: EventId
    currency: Name
    network: Name | None = None
    address: AddressText
    actor: FreeText | None = None
    occurred_at: Time


@dataclass(frozen=True, slots=True, kw_only=True, config=_MODEL)
class WalletRetired:
    """A wallet leaves its pool: at once where it is free, else when its order ends."""

    type: Literal["wallet_retired"]
    event_id: EventId
    currency: Name
    network: Name | None = None
    address: AddressText
    reason: FreeText | None = None
    actor: FreeText | None = None
    occurred_at: Time


@dataclass(frozen=True, slots=True, kw_only=True, config=_MODEL)
class WalletCooled:
    """The cooling that the release of this assignment began is over."""

    type: Literal["wallet_cooled"]
    event_id: EventId
    currency: Name
    network: Name | None = None
    address: AddressText
    assignment_id: UUID
    occurred_at: Time


Event = OrderStatusChanged | WalletAdded | WalletRetired | WalletCooled
"""Every event on `order-status`."""
EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="type")])
_validate_json = EVENT.validator.validate_json
_ORDER = TypeAdapter(OrderStatusChanged)
_ORDER_FIELDS = [field.name for field in dataclasses.fields(OrderStatusChanged)]


class WalletAssigned(BaseModel):
    """The notification: an order has its wallet. No recipient in it: the mailer takes that from the database."""

    model_config = _MODEL | ConfigDict(frozen=True)

    type: Literal["wallet_assigned"] = "wallet_assigned"
    notification_id: UUID
    order_id: Identifier
    currency: Name
    network: Name
    address: AddressText
    amount: Amount
    waited: bool
    assigned_at: Time
    expires_at: Time


# The bits of version and variant (RFC 9562, section 5.5), set here since UUID's own way takes twice as long.
_UUID_BITS = ~(0xF000 << 64 | 0xC000 << 48)
_UUID_5 = 0x5000 << 64 | 0x8000 << 48


class InvalidEvent(ValueError):
    """The bytes are no event. The message names the fields and what was expected, without their content."""


class Parsed(NamedTuple):
    """An event, and how many invalid fields of a final status were left out of it."""

    event: Event
    dropped_fields: int = 0


def event_uuid(topic: str, partition: int, offset: int) -> UUID:
    """The id of what an event makes: uuid5 (RFC 9562) of its place in the log, so that replay gives it again."""
    digest = _namespace(topic, partition).copy()
    digest.update(b"%d" % offset)
    return UUID(int=int.from_bytes(digest.digest()[:16], "big") & _UUID_BITS | _UUID_5)


@lru_cache(maxsize=256)
def _namespace(topic: str, partition: int) -> "hashlib._Hash":
    return hashlib.sha1(NAMESPACE_URL.bytes + f"walletq:{topic}/{partition}/".encode(), usedforsecurity=False)


def encode_event(event: Event) -> bytes:
    """The event as JSON, without the fields that it leaves out."""
    return EVENT.dump_json(event, exclude_none=True)


def parse_event(value: bytes | None) -> Parsed:
    """Read an event strictly; of a final status, leave invalid fields out that it does not need.

    Raises:
        InvalidEvent: not JSON (RFC 8259, UTF-8), or not one of the events.
    """
    if not value:
        raise InvalidEvent("the record has no value")
    try:
        event = _validate_json(value)
        # JSON has no NaN and no Infinity; pydantic's parser takes them in fields that no model reads. A single byte, as
        # a number, is found in a fraction of the time of a word.
        if _N in value or _I in value:
            _check_numbers(value, event)
    except ValidationError as error:
        if (parsed := _final_status_without_invalid_fields(value)) is not None:
            return parsed
        raise InvalidEvent(_explain(error)) from None
    except orjson.JSONDecodeError as error:
        raise InvalidEvent(f"not JSON: {error.msg}") from None
    return Parsed(event)


def is_nested_too_deep(value: bytes) -> bool:
    """Whether brackets are nested deeper than any reader here follows: where it gives up must not depend on the
    interpreter's stack."""
    depth = deepest = 0
    for bracket in _BRACKETS.findall(value):
        if bracket in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif bracket in b"]}":
            depth -= 1
    return deepest > _DEEPEST


def _check_numbers(value: bytes, event: Event) -> None:
    """Raises orjson.JSONDecodeError where a number is none. Of a final status that is no matter."""
    is_final = isinstance(event, OrderStatusChanged) and event.status in FINAL
    if (b"NaN" in value or b"Infinity" in value) and not is_final:
        orjson.loads(value)


def _final_status_without_invalid_fields(value: bytes) -> Parsed | None:
    """A release is never refused for form. None where the bytes are no final status, or lack what it needs."""
    if is_nested_too_deep(value):
        return None
    try:
        # The standard library reads what stricter parsers refuse: NaN, lone surrogates, numbers of any length.
        fields: Any = json.loads(value.decode(), parse_int=float)
    except ValueError:  # UnicodeDecodeError is one
        return None
    if not isinstance(fields, dict) or fields.get("type") != "order_status_changed":
        return None
    if not isinstance(fields.get("status"), str) or fields["status"] not in FINAL:
        return None
    fields = {name: fields[name] for name in _ORDER_FIELDS if name in fields}
    dropped = 0
    while True:
        try:
            return Parsed(_ORDER.validate_python(fields), dropped)
        except ValidationError as error:
            invalid = {str(problem["loc"][0]) for problem in error.errors(include_input=False, include_url=False)}
            if invalid & {"order_id", "currency"}:
                return None
            fields = {name: content for name, content in fields.items() if name not in invalid}
            dropped += len(invalid)


def _explain(error: ValidationError) -> str:
    problems = []
    for problem in error.errors(include_input=False, include_url=False, include_context=False)[:5]:
        # The first place is the union's tag; keys of ours only, so nothing of the input is repeated.
        where = ".".join(str(place) for place in problem["loc"][1:])
        # pydantic would repeat the type that it does not know.
        message = "type: is none that is known" if problem["type"] == "union_tag_invalid" else problem["msg"]
        problems.append(f"{where}: {message}" if where else message)
    text = "; ".join(problems)[:500]
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
