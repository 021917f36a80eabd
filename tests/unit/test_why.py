"""An order's story, and where it stands, from rows and events."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operations.dead_letters.letters import Place, Replay
from operations.pace import Pace
from operations.why.events import Said
from operations.why.facts import Facts, Queue, Refusal
from operations.why.standing import standing
from operations.why.story import Happening, in_order, story

NOW = datetime(2026, 11, 22, 16, tzinfo=UTC)
ADDRESS = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"


def minutes(count: float) -> datetime:
    return NOW + timedelta(minutes=count)


def order(**fields: Any) -> dict[str, Any]:
    blank = dict.fromkeys(
        ["queue_place", "address", "reason", "actor", "paid_offset", "processing_offset", "ended_offset", "ended_at"]
    )
    return blank | {
        "currency": "USDT",
        "order_id": "ord-1",
        "status": "pending",
        "network": "TRC-20",
        "amount": "250.00",
        "domain": "example.com",
        "expires_at": minutes(30),
        "pending_offset": 10,
        "pending_at": minutes(-60),
        **fields,
    }


def assignment(**fields: Any) -> dict[str, Any]:
    return {
        "assignment_id": "id",
        "partition": 3,
        "assigned_offset": 20,
        "released_offset": None,
        "network": "TRC-20",
        "address": ADDRESS,
        "waited": True,
        "assigned_at": minutes(-48),
        "released_at": None,
        **fields,
    }


def delivery(state: str = "sent", **fields: Any) -> dict[str, Any]:
    times = {"created_at": minutes(-48), "sent_at": minutes(-47), "updated_at": minutes(-47)}
    return times | {"kind": "assigned", "state": state, "attempts": 1, "outcome": state} | fields


def facts(
    row: Mapping[str, Any] | None, held: Mapping[str, Any] | None = None, queue: Queue | None = None, **fields: Any
) -> Facts:
    rest: dict[str, Any] = {"released_to": None, "deliveries": (), "refusals": ()} | fields
    return Facts(NOW, "order-status", 3, 100, "cluster", row, held, queue=queue, **rest)


def texts(known: Facts, said: Mapping[int, Said] | None = None) -> list[str]:
    return [one.text for one in story(known, said or {})]


def said(offset: int, **fields: Any) -> dict[int, Said]:
    return {offset: Said(minutes(-40), "e", **fields)}


# The story


def test_the_whole_story_of_an_order_that_waited() -> None:
    row = order(
        status="cancelled", paid_offset=30, ended_offset=40, ended_at=minutes(-10), reason="client_request", actor="kim"
    )
    held = assignment(released_offset=40, released_at=minutes(-10))
    known = facts(row, held, released_to="ord-2", deliveries=[delivery()])
    events = {
        10: Said(minutes(-60), "a", actor="shop", status="pending", order_id="ord-1"),
        20: Said(minutes(-48), "b", order_id="ord-0", status="completed", type="order_status_changed"),
        30: Said(minutes(-30), "c", actor="operator:ann"),
        40: Said(minutes(-10), "d", actor="kim"),
    }
    assert texts(known, events) == [
        "came: 250.00 USDT on TRC-20, expires 2026-11-22 16:30:00Z; no wallet was free, so it waits, by shop",
        f"gets the wallet {ADDRESS} after waiting 12 min: the order ord-0 became completed and gave it back",
        "the mail with the wallet is due",
        "the mail with the wallet is sent, at attempt 1",
        "paid, by operator:ann",
        f"cancelled (client_request) by kim; gives back the wallet {ADDRESS}, which the order ord-2 gets",
    ]


def test_who_settled_a_mail_is_told() -> None:
    settled = delivery(outcome="settled by operator:ann: queued as 1; was unknown: silence")
    last = texts(facts(order(address=ADDRESS), assignment(), deliveries=[settled]))[-1]
    assert last == f"the mail with the wallet is sent, at attempt 1, {settled['outcome']}"


def test_without_the_log_the_rest_is_told() -> None:
    known = facts(order(status="paid", address=ADDRESS, paid_offset=30), assignment())
    told = story(known, {})
    assert [one.text for one in told][1:] == [f"gets the wallet {ADDRESS} after waiting 12 min", "paid"]
    assert told[-1].at is None


@pytest.mark.parametrize(
    ("row", "held", "last"),
    [
        (order(status="failed", ended_offset=11, ended_at=NOW), None, "failed; leaves the queue without a wallet"),
        (
            order(status="failed", ended_offset=5, ended_at=minutes(-61), pending_offset=None, pending_at=None),
            None,
            "failed, before it came",
        ),
        (
            order(status="failed", ended_offset=5, ended_at=minutes(-61)),
            None,
            "came: 250.00 USDT on TRC-20, after it had ended: it gets nothing",
        ),
        (order(address=ADDRESS), assignment(waited=False, assigned_offset=10), f"gets the wallet {ADDRESS} at once"),
    ],
)
def test_how_it_may_go_otherwise(row: dict[str, Any], held: dict[str, Any] | None, last: str) -> None:
    assert texts(facts(row, held))[-1] == last


@pytest.mark.parametrize(
    ("kind", "why"), [("wallet_cooled", "its cooling was over"), ("wallet_added", "it was added to the pool")]
)
def test_where_a_wallet_came_from(kind: str, why: str) -> None:
    assert texts(facts(order(address=ADDRESS), assignment()), said(20, type=kind))[-1].endswith(why)


def test_dead_letters_and_their_replays_are_part_of_it() -> None:
    replay = Replay("e", "operator:kim", [], 3, 9, minutes(-61), 10, minutes(-61), None, is_taken=True)
    refusal = Refusal(Place("order-status", 3, 8), "network_required", "name one", "pending", minutes(-70), [replay])
    known = facts(order(queue_place=10), queue=Queue(1, 0, [], None), refusals=[refusal])
    came = said(10, replay_of="order-status/3/8", replay_by="operator:kim")
    assert texts(known, came) == [
        "pending is refused, network_required: name one (dead letter order-status/3/8)",
        "that dead letter (order-status/3/8) was replayed by operator:kim, as order-status/3/10",
        "came: 250.00 USDT on TRC-20, expires 2026-11-22 16:30:00Z; no wallet was free, so it waits"
        " (replayed from the dead letter order-status/3/8 by operator:kim)",
    ]


def test_no_mailbox_is_told() -> None:
    known = facts(
        order(
            status="cancelled", ended_offset=11, ended_at=NOW, reason="ann@example.com asked", actor="bob@example.com"
        ),
        deliveries=[delivery("failed", outcome="550 no such user ann@example.com")],
    )
    told = " ".join(texts(known) + standing(known))
    assert "ann" not in told
    assert "bob" not in told


happenings = st.builds(
    lambda at, offset: Happening("mail", "", None if at is None else NOW + timedelta(seconds=at), offset),
    st.none() | st.integers(-50, 50),
    st.none() | st.integers(0, 50),
).filter(lambda one: one.at is not None or one.offset is not None)


@given(st.lists(happenings, max_size=12, unique_by=lambda one: (one.offset, one.at if one.offset is None else None)))
def test_events_are_told_in_the_order_of_the_log_and_the_rest_in_the_order_of_time(all_of_it: list[Happening]) -> None:
    told = in_order(all_of_it)
    assert sorted(map(id, told)) == sorted(map(id, all_of_it))
    offsets = [one.offset for one in told if one.offset is not None]
    assert offsets == sorted(offsets)
    times = [one.at for one in told if one.offset is None and one.at is not None]
    assert times == sorted(times)


@given(st.lists(st.integers(-50, 50), unique=True, min_size=1), st.randoms(use_true_random=False))
def test_where_the_times_go_up_with_the_offsets_everything_is_in_time_order(times: list[int], chance: Any) -> None:
    every = [
        Happening("mail", "", NOW + timedelta(seconds=at), at + 50 if chance.random() < 0.5 else None)
        for at in sorted(times)
    ]
    mixed = list(every)
    chance.shuffle(mixed)
    assert in_order(mixed) == every


# Where it stands


def test_a_waiting_order_is_told_its_place_and_its_turn() -> None:
    pace = Pace(3_600, 30, 20, 20)
    known = facts(order(queue_place=10), queue=Queue(9, 4, ["ord-a", "ord-b", "ord-c"], pace))
    assert standing(known) == [
        "It waits for a wallet of USDT/TRC-20 since 1 h, as number 5 of 9.",
        "Before it: ord-a, ord-b, ord-c and 1 more.",
        "Waiting orders of this pool got their wallets at 20 an hour lately: it is its turn in about 15 minutes.",
        "It expires at 2026-11-22 16:30:00Z, in about 30 minutes.",
    ]
    slow = replace(known, queue=Queue(9, 4, [], Pace(3_600, 2, 2, 2)))
    assert standing(slow)[-1] == "At this pace it expires before its turn."
    unknown = replace(known, queue=Queue(1, 0, [], None))
    assert "nobody can tell" in standing(unknown)[1]


def test_an_order_with_a_wallet_is_told_of_it_and_of_its_mail() -> None:
    known = facts(order(address=ADDRESS), assignment(), deliveries=[delivery("due")])
    assert standing(known) == [
        f"It holds the wallet {ADDRESS} of USDT/TRC-20 since 48 min.",
        "It expires at 2026-11-22 16:30:00Z, in about 30 minutes.",
        "The mail to example.com with its wallet is to be sent.",
    ]
    assert "walletq mail" in standing(replace(known, deliveries=()))[-1]
    late = replace(known, now=minutes(31))
    assert "walletq clock" in standing(late)[1]


def test_an_order_that_has_ended_is_told_so() -> None:
    assert standing(facts(order(status="failed", ended_offset=11, ended_at=NOW))) == [
        "It has ended: it is failed, and holds nothing."
    ]
