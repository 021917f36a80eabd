"""What the rules would do with replayed events now, in words: by the allocator's own reading and decisions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from consumers.allocator.decide import decide
from consumers.allocator.reading import Reader
from consumers.allocator.state import Assignment, Changes, Counts, Entry, KnownOrder, Order, OrderKey, Pool, State
from schemas.catalogue import Catalogue
from schemas.events import FINAL, Event, OrderStatusChanged, encode_event

Verdict = Literal["applied", "no effect", "dead letter"]
NOTHING = Changes([], [], [], [], [], [], [], [], Counts())


@dataclass(frozen=True)
class Outcome:
    """What would become of an event, and a sentence that says it."""

    verdict: Verdict
    words: str
    is_useful: bool = True
    "False: the rules take it, but nobody gets anything by it."


class Record(NamedTuple):
    """A record that is not on the topic yet."""

    offset: int
    timestamp: int
    "Milliseconds since 1970."
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


def entry_of(event: Event, reader: Reader, offset: int, now: datetime) -> Entry:
    """The event as the allocator would read it if it were published now."""
    return reader.read(Record(offset, round(now.timestamp() * 1000), event.currency.encode(), encode_event(event)))


class Forecast:
    """Decides over events of one partition one after the other, on a state that stays as it was read."""

    def __init__(
        self, state: State, catalogue: Catalogue, topic: str, partition: int, waiting: dict[Pool, int]
    ) -> None:
        """`waiting`: how many orders wait in the pools of these events."""
        self._state = state
        self._catalogue = catalogue
        self._place = (topic, partition)
        self._waiting = waiting
        self._entries: list[Entry] = []
        self._changes = NOTHING

    def of(self, entry: Entry) -> Outcome:
        """What would become of the entry behind those that were kept."""
        return self._told(entry, self._decide([*self._entries, entry]))

    def keep(self, entry: Entry) -> None:
        """It will be published, before whatever comes next."""
        self._entries.append(entry)
        self._changes = self._decide(self._entries)

    def _decide(self, entries: list[Entry]) -> Changes:
        return decide(self._state, entries, self._catalogue, *self._place)

    def _told(self, entry: Entry, changes: Changes) -> Outcome:
        for letter in changes.dead_letters:
            if letter.entry is entry:
                words = f"dead letter again: {letter.refusal.reason}: {letter.refusal.message}"
                return Outcome("dead letter", words, is_useful=False)
        event = entry.event
        assert event is not None
        if changes.counts.no_effect > self._changes.counts.no_effect:
            return Outcome("no effect", self._why_no_effect(event), is_useful=False)
        if not isinstance(event, OrderStatusChanged):
            return Outcome("applied", self._of_a_wallet(entry, changes))
        key = (event.currency, event.order_id)
        before, after = self._order(key, self._changes), self._order(key, changes)
        assert after is not None
        if event.status in FINAL:
            return Outcome("applied", self._of_an_end(entry, event, before, changes))
        if event.status != "pending":
            return Outcome("applied", f"the order becomes {event.status}")
        if after.status in FINAL:
            return Outcome("applied", f"the order is {after.status} already, and gets nothing", is_useful=False)
        if after.address is not None:
            words = f"the order gets the wallet {after.address} of {_pool(after)} at once"
        else:
            words = f"the order waits as number {self._number(after, changes)} for a wallet of {_pool(after)}"
        if after.expires_at is not None and after.expires_at <= entry.at:
            words += f"; but it expired at {after.expires_at:%Y-%m-%d %H:%M}Z: --set expires_at= lets it begin anew"
        return Outcome("applied", words)

    def _why_no_effect(self, event: Event) -> str:
        if isinstance(event, OrderStatusChanged):
            order = self._order((event.currency, event.order_id), self._changes)
            return f"no effect: the order is {order.status if order else 'not known'} already"
        return "no effect: the wallet is so already"

    def _of_an_end(
        self, entry: Entry, event: OrderStatusChanged, before: KnownOrder | Order | None, changes: Changes
    ) -> str:
        if before is None:
            return f"the order is not known: it is remembered as {event.status}, and gets nothing when it comes"
        if before.address is None:
            return f"the order becomes {event.status}, and leaves the queue"
        wallet = f"the order becomes {event.status}, and its wallet {before.address}"
        if served := _made_by(entry, changes):
            return f"{wallet} goes to the order {served.order_id}, which waited longest"
        row = {(w.currency, w.network, w.address): w for w in (*changes.changed_wallets, *changes.new_wallets)}
        status = row[before.currency, before.network or "", before.address].status
        return f"{wallet} {'is free' if status == 'available' else 'is ' + status}"

    def _of_a_wallet(self, entry: Entry, changes: Changes) -> str:
        if served := _made_by(entry, changes):
            return f"the wallet {served.address} goes to the order {served.order_id}, which waited longest"
        assert entry.event is not None
        rows = [*changes.changed_wallets, *changes.new_wallets]
        wallet = next(
            w
            for w in rows
            if (w.currency, w.network, w.address) == (entry.event.currency, entry.network, entry.address)
        )
        if wallet.retiring:
            return f"the wallet {wallet.address} leaves when its order {wallet.order_id} ends"
        if wallet.order_id is not None:
            return f"the wallet {wallet.address} stays when its order {wallet.order_id} ends"
        return f"the wallet {wallet.address} is {'free' if wallet.status == 'available' else wallet.status}"

    def _order(self, key: OrderKey, changes: Changes) -> KnownOrder | Order | None:
        for order in (*changes.new_orders, *changes.changed_orders):
            if (order.currency, order.order_id) == key:
                return order
        return self._state.orders.get(key)

    def _number(self, order: KnownOrder | Order, changes: Changes) -> int:
        """Whoever waits last has as many before it as wait in all."""
        number = self._waiting.get((order.currency, order.network or ""), 0)
        for now in (*changes.new_orders, *changes.changed_orders):
            if (now.currency, now.network) == (order.currency, order.network):
                then = self._state.orders.get((now.currency, now.order_id))
                number += (now.queue_place is not None) - (then is not None and then.queue_place is not None)
        return number


def _made_by(entry: Entry, changes: Changes) -> Assignment | None:
    return next((a for a in changes.assignments if a.assigned_offset == entry.offset), None)


def _pool(order: KnownOrder | Order) -> str:
    return f"{order.currency}/{order.network}"
