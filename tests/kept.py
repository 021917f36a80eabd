"""Rows as a store keeps them: what a batch finds of one, and what its changes make of it."""

from dataclasses import replace
from operator import attrgetter

from consumers.allocator.state import KnownOrder, KnownWallet, Order, Wallet

_find_order = attrgetter(*KnownOrder._fields)
_find_wallet = attrgetter(*KnownWallet._fields)
_MAY_CHANGE = (
    "status",
    "network",
    "amount",
    "pending_offset",
    "pending_at",
    "paid_offset",
    "processing_offset",
    "ended_offset",
    "ended_at",
)


def found_order(kept: Order) -> KnownOrder:
    """What a batch finds of an order."""
    return KnownOrder._make(_find_order(kept))


def found_wallet(kept: Wallet) -> KnownWallet:
    """What a batch finds of a wallet."""
    return KnownWallet._make(_find_wallet(kept))


def changed_order(kept: Order, change: Order) -> Order:
    """The order after the change."""
    told = {name: content for name in _MAY_CHANGE if (content := getattr(change, name)) is not None}
    if change.status != kept.status:
        told |= {"reason": change.reason, "actor": change.actor}
    return replace(kept, **told, queue_place=change.queue_place, address=change.address)


def changed_wallet(kept: Wallet, change: Wallet) -> Wallet:
    """The wallet after the change."""
    return replace(
        change,
        added_offset=kept.added_offset if change.added_offset is None else change.added_offset,
        retired_offset=kept.retired_offset if change.retired_offset is None else change.retired_offset,
    )
