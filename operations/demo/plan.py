"""What the demo publishes: wallets, orders, and one record that is none. Pure: the same seed gives the same plan."""

import hashlib
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from uuid import NAMESPACE_URL, uuid5

from schemas.addresses import normalise
from schemas.catalogue import Catalogue, Currency
from schemas.events import OrderStatusChanged, Recipient, WalletAdded

SEED = "walletq demo: nobody has the keys of these addresses"
WALLETS_PER_POOL = 8
ORDERS_PER_POOL = 50
EXPIRES_AFTER = timedelta(seconds=9)
"Of the one order that nobody pays."
NO_EVENT = b'}{"type": "order_status_changed", "amount": NaN, \x00\xff'
"What a broken producer might send."


@dataclass(frozen=True)
class PlannedOrder:
    """An order that will come in."""

    order_id: str
    currency: str
    network: str
    amount: str
    email: str
    locale: str
    expires_after: timedelta | None = None
    "From its publication on; the catalogue's where it is left out."

    def pending(self, now: datetime, *, expires: bool = True) -> OrderStatusChanged:
        """The event with which it comes in; with `expires=False`, it has as much time as any order."""
        return OrderStatusChanged(
            type="order_status_changed",
            event_id=_event_id(self.order_id),
            order_id=self.order_id,
            currency=self.currency,
            network=self.network,
            status="pending",
            amount=self.amount,
            recipient=Recipient(email=self.email, locale=self.locale),
            expires_at=now + self.expires_after if expires and self.expires_after else None,
            occurred_at=now,
        )


@dataclass(frozen=True)
class PlannedWallet:
    """A wallet of a pool."""

    currency: str
    network: str
    address: str

    def added(self, now: datetime) -> WalletAdded:
        """The event that adds it."""
        return WalletAdded(
            type="wallet_added",
            event_id=_event_id(f"{self.network}/{self.address}"),
            currency=self.currency,
            network=self.network,
            address=self.address,
            actor="operator:demo",
            occurred_at=now,
        )


@dataclass(frozen=True)
class Plan:
    """Everything that the demo publishes by itself; what the operator does depends on what happens."""

    wallets: list[PlannedWallet]
    orders: list[PlannedOrder]

    @property
    def unpaid(self) -> set[str]:
        """The orders that nobody pays: the clock ends them."""
        return {order.order_id for order in self.orders if order.expires_after is not None}


def make_plan(catalogue: Catalogue) -> Plan:
    """Wallets and orders for every pool of the catalogue; the orders of all pools come mixed."""
    pools = catalogue.pools()
    wallets = [
        PlannedWallet(code, network, address(catalogue.currencies[code].networks[network].address, f"{network}/{n}"))
        for code, network in pools
        for n in range(WALLETS_PER_POOL)
    ]
    chance = random.Random(SEED)
    places = pools * ORDERS_PER_POOL
    chance.shuffle(places)
    orders = [
        PlannedOrder(
            order_id=f"demo-{number:04}",
            currency=code,
            network=network,
            amount=_amount(catalogue.currencies[code], chance),
            email=f"customer{number}@example.com",
            locale=chance.choice(["en", "ru"]),
            # The first order is sure to get a wallet.
            expires_after=EXPIRES_AFTER if number == 1 else None,
        )
        for number, (code, network) in enumerate(places, start=1)
    ]
    return Plan(wallets, orders)


def address(family: str, name: str) -> str:
    """A valid address of the main network, made of the hash of the seed and a name: no key leads to it.

    Args:
        family: as in the catalogue: bitcoin, litecoin, ethereum or tron.
        name: another name gives another address.
    """
    from bip_utils import Base58Encoder, SegwitBech32Encoder

    payload = hashlib.sha256(f"{SEED}/{name}".encode()).digest()[:20]
    if family == "bitcoin":
        written = SegwitBech32Encoder.Encode("bc", 0, payload)
    elif family == "litecoin":
        written = SegwitBech32Encoder.Encode("ltc", 0, payload)
    elif family == "tron":
        written = Base58Encoder.CheckEncode(b"\x41" + payload)
    else:
        written = "0x" + payload.hex()
    return normalise(family, written)


def _amount(currency: Currency, chance: random.Random) -> str:
    """Within the limits, with as many decimals as people write."""
    share = Decimal(chance.randrange(10_000)) / 10_000
    amount = currency.min_amount + (currency.max_amount - currency.min_amount) * share * share
    decimals = min(currency.decimals, 2 if currency.max_amount >= 10 else 4)
    return str(max(amount.quantize(Decimal(1).scaleb(-decimals), ROUND_DOWN), currency.min_amount))


def _event_id(name: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"walletq:demo/{name}"))
