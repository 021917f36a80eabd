"""Seeded traffic for `order-status`: the same seed gives the same messages, byte for byte.

lifecycle(seed, events)    a realistic log without a fault: no record of it becomes a dead letter
holding(seed, orders)      orders that all get a wallet and keep it
hostile(seed, events)      good and hostile records mixed; `kinds()` names every kind of hostility
as_records(messages)       the messages with offsets and times, as a fresh topic would give them
events(), logs()           Hypothesis strategies: few orders and wallets, many collisions
"""

from tests.traffic.addresses import address, misspelt, respelt
from tests.traffic.holding import holding
from tests.traffic.hostile import hostile, kinds
from tests.traffic.lifecycle import lifecycle
from tests.traffic.messages import Message, as_records, crc32_partition, murmur2, right_partition
from tests.traffic.strategies import catalogues, events, logs

__all__ = [
    "Message",
    "address",
    "as_records",
    "catalogues",
    "crc32_partition",
    "events",
    "holding",
    "hostile",
    "kinds",
    "lifecycle",
    "logs",
    "misspelt",
    "murmur2",
    "respelt",
    "right_partition",
]
