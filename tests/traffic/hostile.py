"""Good and hostile records mixed: everything that has gone wrong on a topic before, and what might."""

import json
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, islice
from math import inf, nan

from tests.reference.catalogue import SHIPPED
from tests.reference.model import assignment_id
from tests.reference.records import PARTITIONS
from tests.traffic.addresses import address, misspelt, respelt
from tests.traffic.lifecycle import amount
from tests.traffic.messages import Message, crc32_partition, keyed, moment, right_partition, uuid_text

POOLS = [(currency, network) for currency, known in SHIPPED.items() for network in known.networks]
MEGABYTE = 1_000_000
RAW_NUMBERS = ("1e999", "-1e999", "9" * 5_000)  # JSON that no float holds

Document = dict[str, object]


@dataclass
class _World:
    """What has been sent so far, so that later records can collide with it."""

    rng: random.Random
    events: int = 0
    orders: list[Document] = field(default_factory=list)  # their pendings
    wallets: list[tuple[str, str, str]] = field(default_factory=list)  # currency, network, address
    sent: deque[Message] = field(default_factory=lambda: deque(maxlen=200))
    next_offset: list[int] = field(default_factory=lambda: [0] * PARTITIONS)

    def event(self, kind: str, currency: str, **fields: object) -> Document:
        self.events += 1
        return {
            "type": kind,
            "event_id": uuid_text(self.rng),
            "currency": currency,
            "occurred_at": moment(self.events),
            **fields,
        }

    def pending(self, **fields: object) -> Document:
        """A good one for a new order, unless `fields` say otherwise."""
        currency, network = self.rng.choice(POOLS)
        document = self.event(
            "order_status_changed",
            currency,
            order_id=f"ord-{self.events:07d}",
            status="pending",
            network=network,
            amount=amount(currency, self.rng),
            recipient={"email": f"customer{self.events}@example.com", "locale": "ru"},
        )
        return document | fields

    def new_order(self) -> Document:
        self.orders.append(self.pending())
        return self.orders[-1]

    def status(self, status: str, **fields: object) -> Document:
        """Of an order that has been sent, one of the latest most of the time."""
        if not self.orders:
            self.new_order()
        order = self.rng.choice(self.orders[-40:] if self.rng.random() < 0.9 else self.orders)
        document = self.event("order_status_changed", str(order["currency"]), order_id=order["order_id"], status=status)
        return document | fields

    def final(self, **fields: object) -> Document:
        return self.status(self.rng.choice(["completed", "cancelled", "failed"]), **fields)

    def new_wallet(self) -> Document:
        currency, network = self.rng.choice(POOLS)
        self.wallets.append((currency, network, address(network, self.rng)))
        return self.wallet("wallet_added", -1)

    def wallet(self, kind: str, index: int | None = None, **fields: object) -> Document:
        """Of a wallet that has been sent."""
        if not self.wallets:
            self.new_wallet()
        currency, network, one_form = self.rng.choice(self.wallets) if index is None else self.wallets[index]
        return self.event(kind, currency, network=network, address=one_form) | fields


def hostile(seed: int, events: int, share: float = 0.4) -> Iterator[Message]:
    """Exactly `events` messages; about `share` of the steps are hostile.

    The kinds take turns in an order drawn anew each turn, so a few hundred events hold every kind; the
    records of a megabyte come in every tenth turn only.
    """
    world = _World(random.Random(seed))
    return islice(_endless(world, share), events)


def kinds() -> list[str]:
    """The names of all kinds of hostility."""
    return [kind.__name__.removeprefix("_") for kind in _KINDS]


def _endless(world: _World, share: float) -> Iterator[Message]:
    for turn in count():
        heavy = [_megabyte] if turn % 10 == 0 else []
        kinds_left = [kind for kind in _KINDS if kind is not _megabyte] + heavy
        world.rng.shuffle(kinds_left)
        while kinds_left:
            is_hostile = world.rng.random() < share
            messages = kinds_left.pop()(world) if is_hostile else iter([keyed(_good(world))])
            for message in messages:
                world.next_offset[message.partition] += 1
                if len(message.value or b"") < 10_000:
                    world.sent.append(message)
                yield message


def _good(world: _World) -> Document:
    dice = world.rng.random()
    if dice < 0.3:
        return world.new_order()
    if dice < 0.45:
        return world.new_wallet()
    if dice < 0.7:
        return world.status(world.rng.choice(["paid", "paid", "processing"]))
    return world.final()


# Values


def _empty_value(world: _World) -> Iterator[Message]:
    yield keyed(world.final())._replace(value=b"")


def _null_value(world: _World) -> Iterator[Message]:
    yield keyed(world.final())._replace(value=None)


def _not_utf8(world: _World) -> Iterator[Message]:
    message = keyed(world.final())
    text = (message.value or b"").decode()
    broken = [
        text.replace("ord-", "ord\xe9").encode("latin-1"),
        text.encode("utf-16"),
        b"\xef\xbb\xbf" + text.encode(),
        text.replace("ord-", "\ud800").encode("utf-8", "surrogatepass"),
    ]
    yield message._replace(value=world.rng.choice(broken))


def _not_json(world: _World) -> Iterator[Message]:
    message = keyed(world.final())
    good = message.value or b""
    broken = [
        good[:-1],
        good + b"}",
        good.replace(b'"', b"'"),
        b"null",
        b"[" + good + b"]",
        b'"text"',
        b"\x00",
        b"NaN",
    ]
    yield message._replace(value=world.rng.choice(broken))


def _nested_brackets(world: _World) -> Iterator[Message]:
    brackets = b"[" * 20_000 + b"]" * 20_000
    yield keyed(world.final())._replace(value=brackets)
    document = world.final(recipient="@")
    yield _with_raw(document, brackets)


def _megabyte(world: _World) -> Iterator[Message]:
    padding = "x" * MEGABYTE
    yield keyed(world.pending(order_id=padding))
    yield keyed(world.final(reason=padding))
    yield keyed(world.new_order() | {"unknown_to_us": padding})
    yield keyed(world.final())._replace(value=b" " * MEGABYTE)


def _unprintable_identifiers(world: _World) -> Iterator[Message]:
    for broken in ("\x00", "\ud800", "\udfff", "\n", "\x7f", "\u2028", "\u2029", ""):
        text = f"ord{broken}7" if broken else ""
        yield keyed(world.pending(order_id=text))
        yield keyed(world.final(order_id=text))
    yield keyed(world.pending(event_id="\x00"))
    yield keyed(world.pending(event_id="e" * 129))
    yield keyed(world.pending(order_id="o" * 65))
    yield keyed(world.wallet("wallet_retired", address="T\x00\ud800"))


def _odd_amounts(world: _World) -> Iterator[Message]:
    odd: list[object] = [
        nan,
        inf,
        -inf,
        12,
        0.5,
        True,
        None,
        [],
        "NaN",
        "Infinity",
        "1e3",
        "-1",
        "+1",
        " 1",
        "1 ",
        "1,5",
    ]
    odd += ["", ".5", "5.", "0x10", "1_0", "\u0661\u0662", "\uff11", "9" * 400, int("9" * 400), "0.0", "00"]
    for value in world.rng.sample(odd, 9):
        yield keyed(world.pending(amount=value))
    yield _with_raw(world.pending(amount="@"), world.rng.choice(RAW_NUMBERS).encode())
    yield keyed(world.status("paid", amount=world.rng.choice(odd)))


def _amounts_at_and_past_the_limits(world: _World) -> Iterator[Message]:
    for currency, known in SHIPPED.items():
        networks = {"network": known.networks[0], "currency": currency}
        unit = f"{0:.{known.decimals - 1}f}1"
        yield keyed(world.pending(**networks, amount=f"00{known.smallest}"))
        yield keyed(world.pending(**networks, amount=str(known.largest)))
        yield keyed(world.pending(**networks, amount=f"{known.largest + 1}"))
        yield keyed(world.pending(**networks, amount=unit))
        yield keyed(world.pending(**networks, amount=f"{known.largest}.0" if currency == "USDT" else f"{unit}0"))


def _unfinite_numbers_and_surrogates_elsewhere(world: _World) -> Iterator[Message]:
    for value in (nan, inf, "\ud83d"):
        yield keyed(world.pending(unknown_to_us={"deep": [value]}))
        yield keyed(world.final(unknown_to_us={"deep": [value]}, reason=value))


# Fields


def _unknown_type(world: _World) -> Iterator[Message]:
    yield keyed(world.final(type=world.rng.choice(["order_deleted", "", None, 1, "wallet_assigned", []])))
    document = world.final()
    del document["type"]
    yield keyed(document)


def _unknown_currency(world: _World) -> Iterator[Message]:
    name = world.rng.choice(["DOGE", "btc", "USDT ", "USDT-TRC20", "X" * 64])
    yield keyed(world.pending(currency=name))
    yield keyed(world.final(currency=name))
    yield keyed(world.wallet("wallet_added", currency=name))
    yield keyed(world.status("paid", currency=name))


def _malformed_currency(world: _World) -> Iterator[Message]:
    name = world.rng.choice(["", "BTC\x00", "\ud800", None, 7])
    yield keyed(world.pending(currency=name))
    yield keyed(world.final(currency=name))


def _unknown_network(world: _World) -> Iterator[Message]:
    name = world.rng.choice(["dogecoin", "trc-20", "TRC20", "Bitcoin"])
    yield keyed(world.pending(network=name))
    yield keyed(world.status("paid", network=name))
    yield keyed(world.final(network=name))
    yield keyed(world.wallet("wallet_added", network=name))
    yield keyed(world.pending(currency="BTC", network="TRC-20"))


def _missing_network(world: _World) -> Iterator[Message]:
    for currency, known in SHIPPED.items():
        document = world.pending(currency=currency, amount=str(known.largest))
        del document["network"]
        yield keyed(document)
    document = world.wallet("wallet_added")
    del document["network"]
    yield keyed(document)


def _unknown_status(world: _World) -> Iterator[Message]:
    yield keyed(world.status(world.rng.choice(["Completed", "expired", "", "canceled"])))
    yield keyed(world.status("paid") | {"status": world.rng.choice([None, 1, ["completed"]])})


def _missing_and_mistyped_fields(world: _World) -> Iterator[Message]:
    document = world.pending()
    name = world.rng.choice([name for name in document if name not in ("currency", "network")])
    yield keyed({other: value for other, value in document.items() if other != name})
    yield keyed(document | {name: world.rng.choice([None, 1, True, [], {}])})
    yield keyed(world.pending(occurred_at=world.rng.choice(_ODD_TIMES)))
    yield keyed(world.pending(expires_at=world.rng.choice(_ODD_TIMES)))
    yield keyed(world.pending(reason="r" * 201))
    yield keyed(world.wallet("wallet_retired", reason="line\nline"))


_ODD_TIMES = (
    "2026-01-01T00:00:00",  # no offset
    "2026-01-01",
    "2026-02-30T00:00:00Z",
    "2026-01-01T24:01:00Z",
    "2026-01-01T00:00:00+0100",
    "yesterday",
    "",
    1767225600,
)


def _odd_recipients(world: _World) -> Iterator[Message]:
    odd = ["ann@example.com\r\nBcc: eve@example.com", "ann@example.com\n", "a\rb@example.com"]
    odd += ["ann", "ann@", "@example.com", "ann@intranet", "Ann <ann@example.com>", "a@b@example.com", "", "\x00@x.org"]
    odd += ["ann@example.com, eve@example.com", "a" * 65 + "@example.com", "ann@[127.0.0.1]", '"a b"@example.com']
    for email in [odd[0], *world.rng.sample(odd, 3)]:
        yield keyed(world.pending(recipient={"email": email, "locale": "en"}))
    yield keyed(world.pending(recipient={"email": "ann@example.com", "locale": "en\r\n"}))
    yield keyed(world.pending(recipient="ann@example.com"))
    yield keyed(world.pending(recipient={"locale": "en"}))
    yield keyed(world.new_order() | {"recipient": {"email": "\u0430\u043d\u043d\u0430@example.com", "more": 1}})


def _sloppy_finals(world: _World) -> Iterator[Message]:
    """A release is never refused for form."""
    document = world.final()
    needed = ("type", "currency", "order_id", "status")
    yield keyed({name: document[name] for name in needed})
    yield keyed(world.final(amount=nan, recipient=7, expires_at="soon", reason="\ud800", event_id=[], actor=None))
    yield keyed(world.final(occurred_at="\x00", reason="r" * 201, network={}))
    yield _with_raw(world.final(amount="@"), world.rng.choice(RAW_NUMBERS).encode())
    yield keyed(world.final(order_id=["ord-1"]))


def _twice_the_same_member(world: _World) -> Iterator[Message]:
    message = keyed(world.pending())
    for member in (b'{"status": "paid", ', b'{"currency": "DOGE", "amount": "-1", '):
        yield message._replace(value=(message.value or b"").replace(b"{", member, 1))


# Keys and partitions


def _wrong_key(world: _World) -> Iterator[Message]:
    message = keyed(world.final())
    others = [b"", b"btc", (message.key or b"") + b" ", b'"BTC"', b"\xff\x00", str(world.events).encode()]
    yield message._replace(key=world.rng.choice(others))
    other = next(name.encode() for name in SHIPPED if name.encode() != message.key)
    yield message._replace(key=other, partition=right_partition(other))


def _null_key(world: _World) -> Iterator[Message]:
    yield keyed(world.new_order())._replace(key=None, partition=world.rng.randrange(PARTITIONS))


def _wrong_partition(world: _World) -> Iterator[Message]:
    message = keyed(world.new_order())
    away = world.rng.randrange(1, PARTITIONS)
    yield message._replace(partition=(message.partition + away) % PARTITIONS)


def _partition_of_librdkafka(world: _World) -> Iterator[Message]:
    for document in (world.pending(), world.final(), world.wallet("wallet_added")):
        message = keyed(document)
        yield message._replace(partition=crc32_partition(message.key or b""))


# Orders


def _order_with_other_content(world: _World) -> Iterator[Message]:
    original = world.orders[-1] if world.orders else world.new_order()
    currency, known = str(original["currency"]), SHIPPED[str(original["currency"])]
    again = world.event("order_status_changed", currency)
    yield keyed(original | again | {"amount": str(known.largest)})
    yield keyed(original | again | {"amount": f"0{original['amount']}"})
    yield keyed(original | again | {"network": known.networks[-1]})
    yield keyed(original | again | {"recipient": {"email": "eve@example.com"}})


def _final_of_unknown_order(world: _World) -> Iterator[Message]:
    order = world.pending()
    world.orders.append(order)  # its pending may come late, below
    event = world.event("order_status_changed", str(order["currency"]), order_id=order["order_id"])
    status = world.rng.choice(["cancelled", "completed", "failed"])
    yield keyed(event | {"status": status, "reason": "payment_timeout"})
    yield keyed(event | {"status": world.rng.choice(["cancelled", "completed", status])})


def _late_pendings(world: _World) -> Iterator[Message]:
    yield from _final_of_unknown_order(world)
    order = world.orders[-1]
    yield keyed(order)
    yield keyed(order)
    yield keyed(order | {"amount": str(SHIPPED[str(order["currency"])].smallest)})
    yield keyed(order | {"status": "paid"})


def _duplicates(world: _World) -> Iterator[Message]:
    yield from world.rng.sample(list(world.sent), min(3, len(world.sent)))


def _timeout_of_a_paid_order(world: _World) -> Iterator[Message]:
    for wallet in range(3):
        yield keyed(world.new_wallet() if wallet else world.final())
    order = world.orders[-1]
    timeout = order | {"status": "cancelled", "reason": "payment_timeout"}
    yield keyed(order)
    yield keyed(order | {"status": "paid"})
    yield keyed(timeout)
    yield keyed(order | {"status": "processing"})
    yield keyed(order | {"status": "paid"})
    yield keyed(timeout)


def _paid_while_waiting(world: _World) -> Iterator[Message]:
    orders = [world.new_order() for _ in range(4)]
    for order in orders:
        yield keyed(order)
    for order in orders:
        yield keyed(order | {"status": world.rng.choice(["paid", "processing"])})


def _unknown_order(world: _World) -> Iterator[Message]:
    yield keyed(world.pending(status="paid"))
    yield keyed(world.pending(status="processing"))
    # of another currency: an order is known by both
    other = world.rng.choice(list(SHIPPED))
    yield keyed(world.status("paid", currency=other))


# Wallets


def _wallets_go_and_return(world: _World) -> Iterator[Message]:
    yield keyed(world.new_wallet())
    index = world.rng.randrange(len(world.wallets))
    for kind in ("wallet_added", "wallet_retired", "wallet_retired", "wallet_added"):
        yield keyed(world.wallet(kind, index))
    yield keyed(world.wallet("wallet_retired"))


def _unknown_wallet(world: _World) -> Iterator[Message]:
    currency, network = world.rng.choice(POOLS)
    stranger = address(network, world.rng)
    yield keyed(world.event("wallet_retired", currency, network=network, address=stranger))
    cooled = world.event("wallet_cooled", currency, network=network, address=stranger)
    yield keyed(cooled | {"assignment_id": uuid_text(world.rng)})


def _misspelt_address(world: _World) -> Iterator[Message]:
    for kind in ("wallet_added", "wallet_added", "wallet_retired"):
        document = world.wallet(kind)
        yield keyed(document | {"address": misspelt(str(document["address"]), world.rng)})


def _address_of_another_network(world: _World) -> Iterator[Message]:
    currency, network = world.rng.choice(POOLS)
    # an EVM address is good on each EVM network, and a "3…" address on Bitcoin and Litecoin
    other = "TRC-20" if network != "TRC-20" else "bitcoin"
    strange = [address(other, world.rng), "", " ", "0x", "bc1", "T" * 128, "1" * 34, "\u212a" * 42, "a\x00b"]
    yield keyed(world.event("wallet_added", currency, network=network, address=world.rng.choice(strange)))
    yield keyed(world.event("wallet_added", currency, network=network, address="x" * 129))
    yield keyed(world.event("wallet_added", currency, network=network, address=None))


def _respelt_address(world: _World) -> Iterator[Message]:
    for kind in ("wallet_added", "wallet_retired", "wallet_added"):
        document = world.wallet(kind)
        spelling = respelt(str(document["network"]), str(document["address"]), world.rng)
        yield keyed(document | {"address": spelling})


def _stale_cooling(world: _World) -> Iterator[Message]:
    document = world.wallet("wallet_cooled")
    partition = right_partition(str(document["currency"]).encode())
    offset = world.rng.randrange(world.next_offset[partition] + 1)
    yield keyed(document | {"assignment_id": str(assignment_id(partition, offset))})
    yield keyed(document | {"assignment_id": world.rng.choice(["", "x", 7, None])})


def _with_raw(document: Document, raw: bytes) -> Message:
    """The message for a document in which "@" stands for JSON that Python would not write."""
    message = keyed(document)
    return message._replace(value=json.dumps(document).encode().replace(b'"@"', raw))


_KINDS: list[Callable[[_World], Iterator[Message]]] = [
    _empty_value,
    _null_value,
    _not_utf8,
    _not_json,
    _nested_brackets,
    _megabyte,
    _unprintable_identifiers,
    _odd_amounts,
    _amounts_at_and_past_the_limits,
    _unfinite_numbers_and_surrogates_elsewhere,
    _unknown_type,
    _unknown_currency,
    _malformed_currency,
    _unknown_network,
    _missing_network,
    _unknown_status,
    _missing_and_mistyped_fields,
    _odd_recipients,
    _sloppy_finals,
    _twice_the_same_member,
    _wrong_key,
    _null_key,
    _wrong_partition,
    _partition_of_librdkafka,
    _order_with_other_content,
    _final_of_unknown_order,
    _late_pendings,
    _duplicates,
    _timeout_of_a_paid_order,
    _paid_while_waiting,
    _unknown_order,
    _wallets_go_and_return,
    _unknown_wallet,
    _misspelt_address,
    _address_of_another_network,
    _respelt_address,
    _stale_cooling,
]
