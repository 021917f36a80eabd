"""The answer to `walletq why ORDER`, as text and as JSON."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import asyncpg

from operations.database import operator_session
from operations.orders import currencies_of_orders, several
from operations.pace import expected_wait_seconds
from operations.terminal import print_json, print_lines, printable
from operations.why.events import Heard, read_events
from operations.why.facts import SQL, Facts, Refusal, read_facts, read_refusals
from operations.why.standing import standing
from operations.why.story import Happening, refused, story
from schemas.settings import Settings
from schemas.topics import names


async def why(settings: Settings, order_id: str, currency: str | None, *, as_json: bool) -> int:
    """Print an order's story. Returns the exit code: 1 where the order is not known, or several have the id."""
    topic = names(settings).orders
    async with operator_session(settings, "why") as connection:
        currencies = await currencies_of_orders(connection)
        known = currency or await _currency_of(connection, order_id, currencies)
        facts = await read_facts(connection, topic, known, order_id) if known else None
        if facts is None or facts.order is None:
            similar = await _similar(connection, order_id, [*currencies, *([currency] if currency else [])])
            refusals = await read_refusals(connection, currency, order_id)
            _say_unknown(order_id, currency, similar, refusals, as_json=as_json)
            return 1
    heard = await read_events(settings, facts)
    _print(facts, heard, as_json=as_json)
    return 0


async def _currency_of(connection: asyncpg.Connection, order_id: str, currencies: Sequence[str]) -> str | None:
    """The currency that has the order; None where none has.

    Raises:
        WalletqError: several have.
    """
    rows = await connection.fetch(SQL["similar"], currencies, [order_id])
    if len(rows) > 1:
        raise several(order_id, [(row["currency"], row["status"]) for row in rows])
    return rows[0]["currency"] if rows else None


async def _similar(connection: asyncpg.Connection, order_id: str, currencies: Sequence[str]) -> list[asyncpg.Record]:
    """Orders that may be meant: in another currency, or written in another way."""
    spellings = {order_id, order_id.strip(), order_id.lower(), order_id.upper()}
    rows: list[asyncpg.Record] = await connection.fetch(SQL["similar"], currencies, sorted(spellings))
    return rows


def _say_unknown(
    order_id: str,
    currency: str | None,
    similar: Sequence[asyncpg.Record],
    refusals: Sequence[Refusal],
    *,
    as_json: bool,
) -> None:
    if as_json:
        print_json(
            {
                "order_id": order_id,
                "currency": currency,
                "known": False,
                "similar": [dict(row) for row in similar],
                "refused": [{"dead_letter": str(one.place), "text": refused(one)} for one in refusals],
            }
        )
        return
    where = f" in {currency}" if currency else ""
    lines = [f"order {order_id} is not known{where}"]
    lines += [f"there is {row['order_id']} in {row['currency']} ({row['status']})" for row in similar]
    lines += [f"{one.record_at:%Y-%m-%d %H:%M:%S}Z {refused(one)}" for one in refusals]
    if not (similar or refusals):
        lines.append("if it came a moment ago: `walletq status` shows what is not applied yet")
    print(printable("\n".join(lines)), file=sys.stderr)


def _print(facts: Facts, heard: Heard, *, as_json: bool) -> None:
    happened, stands, notes = story(facts, heard.said), standing(facts), list(heard.notes)
    if heard.not_applied:
        notes.append(f"{heard.not_applied:,} records of its partition are not applied yet")
    order = facts.order
    assert order is not None
    if as_json:
        print_json(
            {
                "order_id": order["order_id"],
                "currency": order["currency"],
                "known": True,
                "status": order["status"],
                "network": order["network"],
                "amount": order["amount"],
                "address": order["address"],
                "expires_at": order["expires_at"],
                "domain": order["domain"],
                "standing": stands,
                "queue": _queue(facts),
                "story": [_happening(one, facts, heard) for one in happened],
                "deliveries": [dict(row) for row in facts.deliveries],
                "not_applied": heard.not_applied,
                "notes": notes,
            }
        )
        return
    title = f"Order {order['order_id']} ({order['currency']}): {order['status']}"
    lines = [
        (f"{one.at:%Y-%m-%d %H:%M:%S}Z" if one.at else "time not known", one.text + _place(one, facts))
        for one in happened
    ]
    print_lines(title, stands, lines, [f"Note: {note}." for note in notes])


def _place(one: Happening, facts: Facts) -> str:
    return f" [{facts.partition}/{one.offset}]" if one.offset is not None and one.kind != "refused" else ""


def _happening(one: Happening, facts: Facts, heard: Heard) -> dict[str, Any]:
    event = heard.said.get(one.offset) if one.offset is not None else None
    return {
        "at": one.at,
        "kind": one.kind,
        "text": one.text,
        "event": None if one.offset is None else f"{facts.topic}/{facts.partition}/{one.offset}",
        "event_id": event and event.event_id,
    }


def _queue(facts: Facts) -> dict[str, Any] | None:
    if facts.queue is None:
        return None
    queue = facts.queue
    return asdict(queue) | {"expected_wait_seconds": expected_wait_seconds(queue.ahead, queue.pace)}
