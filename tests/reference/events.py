"""From the bytes of a record to an event, or to the dead letter `invalid_event`."""

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from uuid import UUID

from email_validator import EmailNotValidError, validate_email

from tests.reference.catalogue import Catalogue

FINAL = ("completed", "cancelled", "failed")
STATUSES = ("pending", "paid", "processing", *FINAL)
DEEPEST_NESTING = 500

_AMOUNT = re.compile(r"[0-9]+(\.[0-9]+)?")
# the Unicode categories Cc, Cs, Zl and Zp, which no version of Unicode adds to
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")
_LOCALE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


class DeadLetterError(Exception):
    """A record that cannot be processed; `reason` is the one that operators see."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Event:
    """An event of any type: the fields that its type does not have, or that were left out, are None."""

    type: str
    currency: str
    status: str | None = None
    order_id: str | None = None
    network: str | None = None
    amount: str | None = None
    email: str | None = None
    locale: str | None = None
    expires_at: datetime | None = None
    reason: str | None = None
    address: str | None = None
    assignment_id: UUID | None = None
    dropped_fields: int = 0


def parse(value: bytes | None, catalogue: Catalogue) -> Event:
    """The event in a record's value; raises the dead letter `invalid_event`."""
    document = _read_json(value)
    kind, status = document.get("type"), document.get("status")
    if kind == "order_status_changed":
        if status not in STATUSES:
            raise DeadLetterError("invalid_event")
        if status in FINAL:
            return _final(document, catalogue)
        required = {"type", "event_id", "order_id", "currency", "status", "occurred_at"}
        if status == "pending":
            required |= {"amount", "recipient"}
        optional = {"network", "amount", "recipient", "expires_at", "reason", "actor"} - required
    elif kind in ("wallet_added", "wallet_retired", "wallet_cooled"):
        required = {"type", "event_id", "currency", "address", "occurred_at"}
        if kind == "wallet_cooled":
            required |= {"assignment_id"}
        optional = {"network", "reason", "actor"}
    else:
        raise DeadLetterError("invalid_event")

    if not _is_interoperable(document):
        raise DeadLetterError("invalid_event")
    present = {name for name in required | optional if document.get(name) is not None}
    if not required <= present or not all(_is_valid(name, document, catalogue) for name in present):
        raise DeadLetterError("invalid_event")
    return _event({name: document[name] for name in present})


def _final(document: dict[str, object], catalogue: Catalogue) -> Event:
    """A release is never refused for form: it needs four fields, and drops the others that are invalid."""
    needed = ("type", "currency", "order_id", "status")
    if not all(_is_valid(name, document, catalogue) for name in needed):
        raise DeadLetterError("invalid_event")
    others = ("event_id", "network", "amount", "recipient", "expires_at", "reason", "actor", "occurred_at")
    present = [name for name in others if document.get(name) is not None]
    valid = [name for name in present if _is_interoperable(document[name]) and _is_valid(name, document, catalogue)]
    return _event({name: document[name] for name in (*needed, *valid)}, dropped_fields=len(present) - len(valid))


def _event(fields: dict[str, object], dropped_fields: int = 0) -> Event:
    """The event of fields that have been found valid."""

    def text(name: str) -> str | None:
        value = fields.get(name)
        return value if isinstance(value, str) else None

    recipient = fields.get("recipient")
    email, locale = (recipient["email"], _locale(recipient)) if isinstance(recipient, dict) else (None, None)
    assignment = text("assignment_id")
    return Event(
        type=str(fields["type"]),
        currency=str(fields["currency"]),
        status=text("status"),
        order_id=text("order_id"),
        network=text("network"),
        amount=text("amount"),
        email=str(email) if email else None,
        locale=str(locale) if locale else None,
        expires_at=_time(fields.get("expires_at")),
        reason=text("reason"),
        address=text("address"),
        assignment_id=UUID(assignment) if assignment else None,
        dropped_fields=dropped_fields,
    )


# JSON


def _read_json(value: bytes | None) -> dict[str, object]:
    """The object in a record's value. Of a key that comes twice the last counts; numbers become floats."""
    try:
        document = json.loads((value or b"").decode("utf-8"), parse_int=float)
    except (ValueError, RecursionError):
        raise DeadLetterError("invalid_event") from None
    # where json.loads gives up depends on the caller's stack, so a depth that it surely reads is the limit
    if not isinstance(document, dict) or max(depth for _, depth in _parts(document)) > DEEPEST_NESTING:
        raise DeadLetterError("invalid_event")
    return document


def _is_interoperable(value: object) -> bool:
    """Nothing in it that Python's json reads but RFC 7493 forbids: infinite numbers, lone surrogates."""
    for part, _ in _parts(value):
        if isinstance(part, str) and _SURROGATE.search(part):
            return False
        if isinstance(part, float) and not math.isfinite(part):
            return False
    return True


def _parts(value: object) -> Iterator[tuple[object, int]]:
    """The value and everything inside it, names of members too, each with its depth."""
    left = [(value, 0)]
    while left:
        part, depth = left.pop()
        yield part, depth
        if isinstance(part, dict):
            left += [(inner, depth + 1) for member in part.items() for inner in member]
        elif isinstance(part, list):
            left += [(inner, depth + 1) for inner in part]


# Fields


def _is_valid(name: str, document: dict[str, object], catalogue: Catalogue) -> bool:
    """Whether a field is well-formed; the catalogue is only asked how many decimals there may be."""
    value = document.get(name)
    if name == "amount":
        currency = document.get("currency")
        known = catalogue.get(currency) if isinstance(currency, str) else None
        return _is_amount(value, known.decimals if known else None)
    return _VALID[name](value)


def _is_amount(value: object, decimals: int | None) -> bool:
    if not isinstance(value, str) or len(value) > 40 or not _AMOUNT.fullmatch(value):
        return False
    return decimals is None or len(value.partition(".")[2]) <= decimals


def _printable(longest: int) -> Callable[[object], bool]:
    """1 to `longest` characters; no control characters, lone surrogates, line or paragraph separators."""

    def is_printable(value: object) -> bool:
        return isinstance(value, str) and 1 <= len(value) <= longest and not _UNPRINTABLE.search(value)

    return is_printable


def _is_remark(value: object) -> bool:
    return isinstance(value, str) and len(value) <= 200 and not _CONTROL.search(value)


def _is_recipient(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    locale = _locale(value)
    return isinstance(locale, str) and bool(_LOCALE.fullmatch(locale)) and _is_email(value.get("email"))


def _locale(recipient: dict[str, object]) -> object:
    locale = recipient.get("locale")
    return "en" if locale is None else locale


def _is_email(value: object) -> bool:
    return isinstance(value, str) and _is_mailbox(value)


@lru_cache(10_000)
def _is_mailbox(value: str) -> bool:
    try:
        checked = validate_email(value, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        return False
    return "." in checked.domain or checked.domain == "localhost"


def _time(value: object) -> datetime | None:
    """An RFC 3339 time with an offset, in UTC, or None; digits beyond microseconds are cut off."""
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    day, clock, fraction, offset = match.groups(default="")
    try:
        local = datetime.fromisoformat(f"{day}T{clock}{fraction[:7].ljust(7, '0') if fraction else ''}{offset.upper()}")
        return local.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


_VALID: dict[str, Callable[[object], bool]] = {
    "type": lambda value: isinstance(value, str),
    "status": lambda value: value in STATUSES,
    "event_id": _printable(128),
    "order_id": _printable(64),
    "currency": _printable(64),
    "network": _printable(64),
    "recipient": _is_recipient,
    "expires_at": lambda value: _time(value) is not None,
    "occurred_at": lambda value: _time(value) is not None,
    "reason": _is_remark,
    "actor": _is_remark,
    "address": lambda value: isinstance(value, str) and len(value) <= 128,
    "assignment_id": lambda value: isinstance(value, str) and _UUID.fullmatch(value) is not None,
}
