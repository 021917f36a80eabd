"""The log that every contender gets: a seeded lifecycle, and what must come of it."""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tests.reference import SHIPPED, Model, Record
from tests.traffic import Message, address, lifecycle
from tests.traffic.lifecycle import amount
from tests.traffic.messages import keyed, moment, uuid_text

OrderKey = tuple[str, str]
"(currency, order id)"


class Assigned(NamedTuple):
    """What an order must be told, and by which message of the log it came about."""

    network: str
    address: str
    waited: bool
    cause: int


@dataclass(frozen=True)
class Log:
    """Good traffic in the order of publishing.

    Attributes:
        messages: the last one of each partition that is used leads to a notification.
        assigned: all that there must be notifications of; no two of them have the same order id.
    """

    messages: Sequence[Message]
    assigned: Mapping[OrderKey, Assigned]

    @property
    def keys(self) -> frozenset[bytes]:
        """The keys of the notifications."""
        return frozenset(order_id.encode() for _, order_id in self.assigned)

    def up_to(self, end: int) -> frozenset[bytes]:
        """The keys of the notifications that the messages before this one lead to."""
        return frozenset(order_id.encode() for (_, order_id), made in self.assigned.items() if made.cause < end)


def make_log(seed: int, events: int) -> Log:
    """A lifecycle of so many events, and a few more so that every partition ends with a notification."""
    model = Model()
    messages = [_unexpiring(message) for message in lifecycle(seed, events, respelt=0.0)]
    places: dict[tuple[int, int], int] = {}
    ends: dict[int, int] = {}

    def take(start: int) -> None:
        for index, message in enumerate(messages[start:], start):
            offset = ends[message.partition] = ends.get(message.partition, -1) + 1
            places[message.partition, offset] = index
            model.take(Record(message.partition, offset, index, message.key, message.value))

    take(0)
    messages += _sentinels(model, random.Random(f"sentinels of {seed}"))
    take(events)
    assert not model.dead_letters, model.dead_letters
    assigned = {
        (made.currency, made.order_id): Assigned(
            made.network, made.address, made.waited, places[made.partition, made.assigned_offset]
        )
        for made in model.assignments
    }
    log = Log(messages, assigned)
    assert len(log.keys) == len(assigned) == len(model.assignments)
    return log


def _sentinels(model: Model, rng: random.Random) -> Iterator[Message]:
    """For each currency one event more that must lead to a notification, or two."""
    for number, currency in enumerate(SHIPPED):
        network = SHIPPED[currency].networks[0]
        event: dict[str, object] = {
            "event_id": uuid_text(rng),
            "currency": currency,
            "network": network,
            "occurred_at": moment(0),
        }
        yield keyed(event | {"type": "wallet_added", "address": address(network, rng)})
        if not model.queues.get((currency, network)):
            yield keyed(
                event
                | {
                    "type": "order_status_changed",
                    "event_id": uuid_text(rng),
                    "order_id": f"sentinel-{number}",
                    "status": "pending",
                    "amount": amount(currency, rng),
                    "recipient": {"email": f"sentinel-{number}@example.com"},
                }
            )


def _unexpiring(message: Message) -> Message:
    """The lifecycle's times are of a fixed day: an expiry that is past keeps a mailer from sending."""
    value = message.value or b""
    if b'"expires_at"' not in value:
        return message
    event = json.loads(value)
    del event["expires_at"]
    return message._replace(value=json.dumps(event).encode())
