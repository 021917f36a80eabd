"""The bytes of a plan's items, and the catalogues that a deployment may bring."""

import random
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from functools import cache, lru_cache

import orjson

from schemas.catalogue import Catalogue, read_catalogue
from tests.reference import SHIPPED
from tests.reference import Catalogue as ReferenceCatalogue
from tests.simulation.plan import Item
from tests.traffic import address

CURRENCY = "USDT"
POOLS = ("TRC-20", "ERC-20")
FINALS = ("completed", "cancelled", "failed")
AMOUNTS = ("10.00", "10", "4000", "10.000000", "9")
NO_ASSIGNMENT = "00000000-0000-4000-8000-000000000000"
POISON = "poison-"
"The simulated database refuses orders whose ids begin so."

_USDT = SHIPPED[CURRENCY]
REFERENCE_CATALOGUES: tuple[ReferenceCatalogue, ...] = (
    SHIPPED,
    {**SHIPPED, CURRENCY: replace(_USDT, cooldown_minutes=30)},
    {**SHIPPED, CURRENCY: replace(_USDT, largest=Decimal(50), smallest=Decimal(5))},
)


@cache
def catalogues() -> tuple[Catalogue, ...]:
    """The same catalogues, as the allocator reads them."""
    return tuple(_catalogue(reference) for reference in REFERENCE_CATALOGUES)


def _catalogue(reference: ReferenceCatalogue) -> Catalogue:
    content = read_catalogue().model_dump(mode="json")
    content["currencies"][CURRENCY] |= {
        "cool_down_minutes": reference[CURRENCY].cooldown_minutes,
        "min_amount": str(reference[CURRENCY].smallest),
        "max_amount": str(reference[CURRENCY].largest),
    }
    return Catalogue.model_validate(content)


def key_and_value(item: Item, cooling: str) -> tuple[bytes | None, bytes | None]:
    """The record that the item stands for.

    Args:
        cooling: for a `cool`: pool, address and assignment of a wallet that cools, or of none.
    """
    return _key_and_value(item._replace(after=0.0, clock_ms=0), cooling)


@lru_cache(20_000)
def _key_and_value(item: Item, cooling: str) -> tuple[bytes | None, bytes | None]:
    if item.kind == "junk":
        return _junk(item)
    if item.kind == "poison":
        return _record(_order(item, f"{POISON}{item.subject}", "pending"))
    if item.kind in ("add", "retire"):
        kind = "wallet_added" if item.kind == "add" else "wallet_retired"
        return _record({"type": kind, "network": POOLS[item.pool], "address": _address(item), "reason": "tidying"})
    if item.kind == "cool":
        network, wallet, assignment_id = cooling.split()
        event = {"type": "wallet_cooled", "network": network, "address": wallet, "assignment_id": assignment_id}
        return _record(event)
    order_id = f"ord-{item.subject}"
    if item.kind == "final":
        reason = "payment_timeout" if item.variant >= 9 else "client_request"
        return _record(_order(item, order_id, FINALS[item.variant % 3]) | {"reason": reason})
    return _record(_order(item, order_id, item.kind if item.kind == "pending" or item.variant < 8 else "processing"))


def no_cooling(item: Item) -> str:
    """What a stale clock says: the end of a cooling that there is not."""
    return f"{POOLS[item.pool]} {_address(item)} {NO_ASSIGNMENT}"


def _order(item: Item, order_id: str, status: str) -> dict[str, object]:
    event: dict[str, object] = {"type": "order_status_changed", "order_id": order_id, "status": status}
    if status == "pending":
        event |= {"amount": AMOUNTS[0] if item.variant < 8 else AMOUNTS[item.variant - 7]}
        event |= {"network": POOLS[item.pool], "recipient": {"email": "ann@example.com", "locale": "en"}}
    return event


def _record(event: Mapping[str, object]) -> tuple[bytes, bytes]:
    common = {"event_id": "e", "currency": CURRENCY, "occurred_at": "2026-11-22T16:00:00Z"}
    return CURRENCY.encode(), orjson.dumps({**common, **event})


def _junk(item: Item) -> tuple[bytes | None, bytes | None]:
    good = _record(_order(item, "ord-0", "pending"))
    return (
        (None, b"{"),
        (b"BTC", good[1]),
        (None, None),
        _record({"type": "wallet_added", "network": "TRC-20", "address": "T"}),
        _record(_order(item, "ord-0", "pending") | {"network": "Solana"}),
        _record({"type": "coffee"}),
    )[item.variant % 6]


def _address(item: Item) -> str:
    return address(POOLS[item.pool], random.Random(item.subject % 4))
