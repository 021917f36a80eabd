"""The log behind the mails: orders that all get a wallet, and keep it."""

import random
from collections.abc import Sequence

from benchmarks.queues import shipped_pools
from tests.traffic import Message, address
from tests.traffic.lifecycle import amount
from tests.traffic.messages import keyed, moment, uuid_text

LOCALES = ("en", "ru")


def make_mail_log(seed: int, orders: int) -> Sequence[Message]:
    """A wallet and an order for each mail: every address, and so every QR code, is another.

    Half of the customers read English and half Russian; the local part of each recipient is the order's id.
    """
    rng = random.Random(f"mails of {seed}")
    pools = shipped_pools()
    messages = []
    for number in range(orders):
        pool = pools[number % len(pools)]
        event: dict[str, object] = {"currency": pool.currency, "network": pool.network, "occurred_at": moment(0)}
        wallet = {"type": "wallet_added", "event_id": uuid_text(rng), "address": address(pool.network, rng)}
        order = {
            "type": "order_status_changed",
            "event_id": uuid_text(rng),
            "order_id": f"mail-{number}",
            "status": "pending",
            "amount": amount(pool.currency, rng),
            "recipient": {"email": f"mail-{number}@example.com", "locale": LOCALES[number // len(pools) % 2]},
        }
        messages += [keyed(event | wallet), keyed(event | order)]
    return messages
