"""Hypothesis strategies for small logs in which nearly every event meets one that came before."""

import json
import random
from dataclasses import replace
from functools import cache

from hypothesis import strategies as st

from tests.reference.catalogue import SHIPPED, Catalogue
from tests.reference.model import Model, assignment_id
from tests.reference.records import PARTITIONS, Record, right_partition
from tests.traffic.addresses import address, misspelt, respelt
from tests.traffic.messages import START, crc32_partition, moment

Document = dict[str, object]

POOLS = [("BTC", "bitcoin"), ("BTC", "bitcoin"), ("USDT", "TRC-20"), ("USDT", "ERC-20")]
ORDERS = ["a", "b", "c", "d", "e"]
AMOUNTS = {"BTC": ["0.01", "0.01", "0.010", "0.02"], "USDT": ["10", "10", "10.0", "5000"]}
THIS_ONE = "the assignment that the wallet had last"


def catalogues() -> st.SearchStrategy[Catalogue]:
    """The shipped catalogue, or the same with a cool-down for both currencies of these logs, or for one."""
    cooling = {name: replace(known, cooldown_minutes=30) for name, known in SHIPPED.items() if name in AMOUNTS}
    return st.sampled_from([SHIPPED, {**SHIPPED, **cooling}, {**SHIPPED, "BTC": cooling["BTC"]}])


@st.composite
def events(draw: st.DrawFn) -> Document:
    """One event: most are well-formed, about one in fifteen is not."""
    kind = draw(st.sampled_from(["pending"] * 5 + ["status"] * 7 + ["wallet"] * 6))
    currency, network = draw(st.sampled_from(POOLS))
    if kind == "wallet":
        document = draw(_wallet_events(currency, network))
    else:
        document = _event("order_status_changed", currency)
        document |= {"order_id": draw(st.sampled_from(ORDERS)), "status": "pending"}
    if kind == "pending":
        document |= {"network": network, "amount": draw(st.sampled_from(AMOUNTS[currency]))}
        document |= {"recipient": {"email": "ann@example.com"}}
    elif kind == "status":
        final = ["completed", "cancelled", "cancelled", "failed"]
        document["status"] = draw(st.sampled_from([*final, "paid", "paid", "processing"]))
        document |= draw(st.sampled_from([{}, {}, {"reason": "payment_timeout"}]))
    if draw(st.integers(0, 14)) == 7:
        document |= draw(st.sampled_from(_FAULTS))
    return document


@st.composite
def logs(draw: st.DrawFn, catalogue: Catalogue = SHIPPED, longest: int = 60) -> list[Record]:
    """The records of a small log, all partitions interleaved, with gaps between some offsets.

    Most events are steered to what the log has led to so far: to an order that lives, a wallet that cools.
    """
    model = Model(catalogue=catalogue)
    offsets = [0] * PARTITIONS
    records = []
    least = draw(st.sampled_from([0, longest // 4, longest // 2]))
    for number, document in enumerate(draw(st.lists(events(), min_size=least, max_size=longest))):
        if draw(st.sampled_from([True, True, True, False])):
            draw(_steered(model, document))
        if document.get("assignment_id") == THIS_ONE:
            document["assignment_id"] = _last_assignment(model, document)
        placing = draw(st.sampled_from(["right"] * 40 + ["gap"] * 4 + ["librdkafka", "null key", "null"]))
        key = str(document["currency"]).encode()
        partition = crc32_partition(key) if placing == "librdkafka" else right_partition(key)
        offsets[partition] += 2 if placing == "gap" else 0
        record = Record(
            partition,
            offsets[partition],
            round(START.timestamp() * 1000) + 250 * number,
            None if placing == "null key" else key,
            None if placing == "null" else json.dumps(document).encode(),
        )
        offsets[partition] += 1
        model.take(record)
        records.append(record)
    return records


@st.composite
def _steered(draw: st.DrawFn, model: Model, document: Document) -> None:
    """Point the event at something that it can act on, where there is something."""
    if document["type"] == "order_status_changed":
        if document["status"] == "pending":
            document["order_id"] = f"new-{len(model.orders)}"
        elif live := [order for order in model.orders.values() if order.place is not None or order.address]:
            order = draw(st.sampled_from(live))
            document |= {"currency": order.currency, "order_id": order.order_id}
        return
    sought = {"wallet_cooled": ["cooling"], "wallet_retired": ["available", "occupied", "cooling"]}
    statuses = sought.get(str(document["type"]), ["occupied", "retired"])
    if found := [wallet for wallet in model.wallets.values() if wallet.status in statuses]:
        wallet = draw(st.sampled_from(found))
        if document["type"] != "wallet_added" or wallet.retiring or wallet.status == "retired":
            place = {"currency": wallet.currency, "network": wallet.network, "address": wallet.address}
            document |= place


@st.composite
def _wallet_events(draw: st.DrawFn, currency: str, network: str) -> Document:
    kinds = ["wallet_added"] * 3 + ["wallet_retired", "wallet_cooled", "wallet_cooled"]
    document = _event(draw(st.sampled_from(kinds)), currency)
    document |= {"network": network, "address": draw(st.sampled_from(_spellings(network)))}
    if document["type"] == "wallet_cooled":
        partition = right_partition(currency.encode())
        other = str(assignment_id(partition, draw(st.integers(0, 30))))
        document["assignment_id"] = draw(st.sampled_from([THIS_ONE, THIS_ONE, THIS_ONE, other]))
    return document


def _event(kind: str, currency: str) -> Document:
    return {"type": kind, "event_id": "e-1", "currency": currency, "occurred_at": moment(0)}


def _last_assignment(model: Model, document: Document) -> str:
    for made in reversed(model.assignments):
        if (made.currency, made.network, made.address) == tuple(
            document[name] for name in ("currency", "network", "address")
        ):
            return str(assignment_id(made.partition, made.assigned_offset))
    return str(assignment_id(0, 0))


@cache
def _spellings(network: str) -> list[str]:
    """Four addresses, each in its one form most of the time; other spellings and a misspelt one."""
    rng = random.Random(network)
    wallets = [address(network, rng) for _ in range(4)]
    return [*wallets * 4, *(respelt(network, wallet, rng) for wallet in wallets), misspelt(wallets[0], rng)]


_FAULTS: list[Document] = [
    {"currency": "DOGE"},
    {"currency": "LTC"},
    {"network": "dogecoin"},
    {"network": None},
    {"amount": "1e3"},
    {"amount": "99999"},
    {"occurred_at": "yesterday"},
    {"event_id": ""},
    {"order_id": "\x00"},
    {"reason": "\ud800"},
    {"type": "order_deleted"},
    {"unknown_to_us": 1},
]
