"""The plain data of the allocator: what is read, what is decided. Known to no driver.

All of it is frozen but `Order` and `Wallet`, which `decide` makes of what the state knows, and changes field by field.
"""

from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from typing import NamedTuple
from uuid import UUID

from schemas.catalogue import Catalogue
from schemas.events import Event

Pool = tuple[str, str]
"(currency, network)"
OrderKey = tuple[str, str]
"(currency, order id)"
WalletKey = tuple[str, str, str]
"(currency, network, address)"


class Reason(StrEnum):
    """Why a record is a dead letter."""

    INVALID_EVENT = "invalid_event"
    UNKNOWN_CURRENCY = "unknown_currency"
    WRONG_KEY = "wrong_key"
    WRONG_PARTITION = "wrong_partition"
    UNKNOWN_NETWORK = "unknown_network"
    NETWORK_REQUIRED = "network_required"
    AMOUNT_OUT_OF_RANGE = "amount_out_of_range"
    INVALID_ADDRESS = "invalid_address"
    CONFLICTING_ORDER = "conflicting_order"
    UNKNOWN_ORDER = "unknown_order"
    UNKNOWN_WALLET = "unknown_wallet"
    NO_WALLET = "no_wallet"
    INVALID_TRANSITION = "invalid_transition"
    STORAGE_REFUSED = "storage_refused"


class Refusal(NamedTuple):
    """A record is not processed: the reason, and a sentence that names what was wrong."""

    reason: Reason
    message: str


class KnownOrder(NamedTuple):
    """What a batch finds of an order: what its events can depend on, and no more."""

    currency: str
    order_id: str
    status: str
    network: str | None
    amount: str | None
    expires_at: datetime | None
    traceparent: str | None
    queue_place: int | None
    address: str | None


class KnownWallet(NamedTuple):
    """What a batch finds of a wallet."""

    currency: str
    network: str
    address: str
    status: str
    free_place: int | None
    order_id: str | None
    assigned_offset: int | None
    retiring: bool
    cooling_assignment_id: UUID | None


@dataclass(slots=True)
class Order:
    """An order as a batch leaves it: it waits (`queue_place`), holds a wallet (`address`) or has ended.

    Of an order that was known before, None says that a field stays as it was; but `queue_place` and `address` are told
    in any case, and `reason` and `actor` change with the status, and only with it.
    """

    currency: str
    order_id: str
    status: str
    network: str | None = None
    amount: str | None = None
    expires_at: datetime | None = None
    traceparent: str | None = None
    queue_place: int | None = None
    address: str | None = None
    email: str | None = None
    locale: str | None = None
    reason: str | None = None
    actor: str | None = None
    pending_offset: int | None = None
    pending_at: datetime | None = None
    paid_offset: int | None = None
    processing_offset: int | None = None
    ended_offset: int | None = None
    ended_at: datetime | None = None


@dataclass(slots=True)
class Wallet:
    """A wallet as a batch leaves it: available (`free_place`), occupied (`order_id`, ...), cooling or retired.

    Of a wallet that was known before, None says that `added_offset` and `retired_offset` stay as they were.
    """

    currency: str
    network: str
    address: str
    status: str
    free_place: int | None = None
    order_id: str | None = None
    assigned_offset: int | None = None
    retiring: bool = False
    cooling_assignment_id: UUID | None = None
    cooling_until: datetime | None = None
    added_offset: int | None = None
    retired_offset: int | None = None


order_row = attrgetter(*(field.name for field in fields(Order)))
"An order's fields as a tuple, in their order."
wallet_row = attrgetter(*(field.name for field in fields(Wallet)))
"A wallet's fields as a tuple, in their order."


class Assignment(NamedTuple):
    """An order holds a wallet from `assigned_offset` on, and no more from `released_offset` on."""

    assignment_id: UUID
    assigned_offset: int
    released_offset: int | None
    currency: str
    network: str
    address: str
    order_id: str
    waited: bool
    assigned_at: datetime
    released_at: datetime | None


class Release(NamedTuple):
    """An assignment of an earlier batch ends."""

    assigned_offset: int
    released_offset: int
    released_at: datetime


class Notification(NamedTuple):
    """What is published of an assignment, and under which trace."""

    assignment: Assignment
    amount: str
    expires_at: datetime
    traceparent: str | None


class Entry(NamedTuple):
    """A record of the log as the rules see it: an event, or a refusal where it is none."""

    offset: int
    at: datetime
    event: Event | None = None
    refusal: Refusal | None = None
    network: str | None = None
    "The event's network, or the currency's only one."
    address: str | None = None
    "A wallet event's address in its normalised form."
    expires_at: datetime | None = None
    in_catalogue: bool = True
    "False: the catalogue has no such currency, but a known order may still be released."
    dropped_fields: int = 0
    traceparent: str | None = None
    key: bytes | None = None
    value: bytes | None = None


class DeadLetter(NamedTuple):
    """A refused record."""

    entry: Entry
    refusal: Refusal


class State(NamedTuple):
    """What a batch needs to know: the orders and wallets that it names, and the heads of its pools' queues."""

    orders: dict[OrderKey, KnownOrder]
    wallets: dict[WalletKey, KnownWallet]
    free: dict[Pool, list[str]]
    "The first free wallets of each pool, oldest place first: addresses, their rows in `wallets`."
    waiting: dict[Pool, list[str]]
    "The first waiting orders of each pool, oldest first: order ids, their rows in `orders`."


class Counts(NamedTuple):
    """What became of the batch's records. The first three add up to their number."""

    applied: int = 0
    no_effect: int = 0
    dead_letters: int = 0
    dropped_fields: int = 0
    early_finals: int = 0


class Changes(NamedTuple):
    """What a batch changes. Lists are in the order of the events."""

    new_orders: list[Order]
    changed_orders: list[Order]
    new_wallets: list[Wallet]
    changed_wallets: list[Wallet]
    assignments: list[Assignment]
    releases: list[Release]
    dead_letters: list[DeadLetter]
    notifications: list[Notification]
    counts: Counts


class KeptDeadLetter(NamedTuple):
    """A dead letter as its row has it; the value is left out where it is too large."""

    offset: int
    reason: str
    message: str
    record_at: datetime
    key: bytes | None
    value: bytes | None
    value_length: int | None
    value_sha256: str | None
    traceparent: str | None


class Batch(NamedTuple):
    """A run of entries, from the owner's place (not from the first record: markers leave gaps) to behind the last."""

    start: int
    end: int
    entries: list[Entry]


class Step(NamedTuple):
    """What is written of a batch: the place moves from `start` to `end`, and with it all that the batch changes."""

    start: int
    end: int
    published_offset: int
    "The watermark moves up to it."
    changes: Changes
    dead_letters: list[KeptDeadLetter]
    "Those of the changes, as they are kept."
    catalogue: Catalogue | None
    "The one that decided, where the one before it is another."


class Applied(NamedTuple):
    """A batch that is applied, and how long its steps took: moments of time.perf_counter_ns."""

    batch: Batch
    changes: Changes
    began_ns: int
    gathered_ns: int
    decided_ns: int
    applied_ns: int
