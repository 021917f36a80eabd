"""The demo's operator: completes, cancels and fails orders, as `walletq order set-status` does."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from producers.operator import set_status
from schemas.events import OrderStatusChanged, Status

ACTOR = "operator:demo"
SHARE = 3
"Every round ends about one in so many of the orders that hold a wallet,"
AT_LEAST = 10
"but at least so many, where there are so many."
GIVES_UP = 0.7
"How likely it is that in a round one customer does not want to wait any longer,"
LONG_QUEUES = 40
"while more than so many wait: one who gives up in the moment of being served shows nothing."

Order = tuple[str, str]
"Currency and order id."


@dataclass
class Operator:
    """Decides, a round at a time. An order is ended once; those that nobody pays are left to the clock."""

    chance: random.Random
    left_alone: set[str]
    ended: set[Order] = field(default_factory=set)

    def round(self, holding: Sequence[Order], waiting: Sequence[Order], now: datetime) -> list[OrderStatusChanged]:
        """The events of one round.

        Args:
            holding: the orders that hold a wallet, and whose customers know it.
            waiting: the orders in a queue.
            now: when.
        """
        able = [order for order in holding if order not in self.ended and order[1] not in self.left_alone]
        chosen = self.chance.sample(able, min(len(able), max(AT_LEAST, len(able) // SHARE)))
        events = [event for order in chosen for event in self._end(order, now)]
        patient = [order for order in waiting if order not in self.ended]
        if len(patient) > LONG_QUEUES and self.chance.random() < GIVES_UP:
            gives_up = self.chance.choice(patient[len(patient) // 2 :])
            events.append(self._set(gives_up, "cancelled", now, "client_request"))
            self.ended.add(gives_up)
        self.ended.update(chosen)
        return events

    def _end(self, order: Order, now: datetime) -> list[OrderStatusChanged]:
        outcome = self.chance.choices(["completed", "cancelled", "failed"], [75, 17, 8])[0]
        if outcome == "completed":
            return [self._set(order, status, now) for status in ("paid", "processing", "completed")]
        if outcome == "cancelled":
            return [self._set(order, "cancelled", now, "client_not_responding")]
        return [self._set(order, "paid", now), self._set(order, "failed", now, "technical_issue")]

    @staticmethod
    def _set(order: Order, status: Status, now: datetime, reason: str | None = None) -> OrderStatusChanged:
        currency, order_id = order
        return set_status(order_id, status, currency, reason=reason, actor=ACTOR, now=now)
