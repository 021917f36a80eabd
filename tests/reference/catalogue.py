"""Currencies, their networks and limits; `SHIPPED` has the values that walletq ships with."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class Currency:
    """One currency: its pools (one for each network), the limits of an order, and its times in minutes."""

    networks: tuple[str, ...]
    decimals: int
    smallest: Decimal
    largest: Decimal
    expiry_minutes: int = 90
    cooldown_minutes: int = 0


Catalogue = Mapping[str, Currency]

SHIPPED: Catalogue = {
    "BTC": Currency(("bitcoin",), 8, Decimal("0.0002"), Decimal("0.11")),
    "ETH": Currency(("ethereum",), 18, Decimal("0.003"), Decimal("1.67")),
    "USDT": Currency(("TRC-20", "ERC-20", "BEP-20"), 6, Decimal(10), Decimal(5000)),
    "LTC": Currency(("litecoin",), 8, Decimal("0.1"), Decimal(50)),
}


def catalogue_of(content: str) -> Catalogue:
    """The catalogue that a partition has recorded as this text."""
    document = json.loads(content)
    return {
        code: Currency(
            tuple(found["networks"]),
            found["decimals"],
            Decimal(found["min_amount"]),
            Decimal(found["max_amount"]),
            document["expiry_minutes"],
            found["cool_down_minutes"],
        )
        for code, found in document["currencies"].items()
    }
