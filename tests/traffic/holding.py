"""Orders that all get a wallet and keep it: a mail for each."""

import random
from collections.abc import Iterator

from tests.reference.catalogue import SHIPPED
from tests.traffic.addresses import address
from tests.traffic.lifecycle import amount
from tests.traffic.messages import Message, keyed, moment, uuid_text

LOCALES = ("en", "ru")


def holding(seed: int, orders: int) -> Iterator[Message]:
    """A wallet and an order for each mail, in all pools of the shipped catalogue; every address is another.

    Half of the customers read English and half Russian; the local part of each recipient is the order's id.
    """
    rng = random.Random(f"holding of {seed}")
    pools = [(currency, network) for currency in SHIPPED for network in SHIPPED[currency].networks]
    for number in range(orders):
        currency, network = pools[number % len(pools)]
        event: dict[str, object] = {"currency": currency, "network": network, "occurred_at": moment(0)}
        wallet = {"type": "wallet_added", "event_id": uuid_text(rng), "address": address(network, rng)}
        order = {
            "type": "order_status_changed",
            "event_id": uuid_text(rng),
            "order_id": f"mail-{number}",
            "status": "pending",
            "amount": amount(currency, rng),
            "recipient": {"email": f"mail-{number}@example.com", "locale": LOCALES[number // len(pools) % 2]},
        }
        yield keyed(event | wallet)
        yield keyed(event | order)
