"""The operator's actions, as events. `Publisher.publish` puts them into effect."""

from collections.abc import Iterable
from datetime import datetime
from uuid import uuid4

from producers.checks import EventRefused, known_currency, known_network, normalised
from schemas.catalogue import Catalogue
from schemas.events import OrderStatusChanged, Status, WalletAdded, WalletRetired


def set_status(
    order_id: str,
    status: Status,
    currency: str,
    *,
    reason: str | None = None,
    actor: str | None = None,
    now: datetime,
) -> OrderStatusChanged:
    """An order has a new status. `pending` is not an operator's: it needs what only the customer's order has.

    Raises:
        pydantic.ValidationError: a field is not what the contract says.
    """
    return OrderStatusChanged(
        type="order_status_changed",
        event_id=str(uuid4()),
        order_id=order_id,
        currency=currency,
        status=status,
        reason=reason,
        actor=actor,
        occurred_at=now,
    )


def add_wallets(
    catalogue: Catalogue,
    currency: str,
    network: str | None,
    addresses: Iterable[str],
    *,
    actor: str | None = None,
    now: datetime,
) -> list[WalletAdded]:
    """Wallets join their pool.

    Args:
        catalogue: what the addresses are checked against.
        currency: the pool's currency.
        network: the pool's network; may be left out where the currency has just one.
        addresses: in any form that the network knows.
        actor: who does it.
        now: when.

    Raises:
        EventRefused: the currency or network is unknown, or an address is none of the network.
    """
    network, normal = _pool(catalogue, currency, network, addresses)
    return [
        WalletAdded(
            type="wallet_added",
            event_id=str(uuid4()),
            currency=currency,
            network=network,
            address=address,
            actor=actor,
            occurred_at=now,
        )
        for address in normal
    ]


def retire_wallets(
    catalogue: Catalogue,
    currency: str,
    network: str | None,
    addresses: Iterable[str],
    *,
    reason: str | None = None,
    actor: str | None = None,
    now: datetime,
) -> list[WalletRetired]:
    """Wallets leave their pool: free ones at once, others when their order ends. As `add_wallets`."""
    network, normal = _pool(catalogue, currency, network, addresses)
    return [
        WalletRetired(
            type="wallet_retired",
            event_id=str(uuid4()),
            currency=currency,
            network=network,
            address=address,
            reason=reason,
            actor=actor,
            occurred_at=now,
        )
        for address in normal
    ]


def _pool(catalogue: Catalogue, code: str, network: str | None, addresses: Iterable[str]) -> tuple[str, list[str]]:
    currency = known_currency(catalogue, code)
    network = known_network(code, currency, network)
    normal, refused = [], []
    for address in addresses:
        try:
            normal.append(normalised(currency, network, address))
        except EventRefused as error:
            refused.append(f"{address}: {error.message}")
    if refused:
        more = f"\nand {len(refused) - 5} more" if len(refused) > 5 else ""
        raise EventRefused("invalid_address", "\n".join(refused[:5]) + more)
    return network, list(dict.fromkeys(normal))
