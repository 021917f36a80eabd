"""What happened to an order, in time order: pure, from the rows and the events of the log."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from operations.dead_letters.masking import masked_text
from operations.deliveries import SETTLED
from operations.pace import exactly
from operations.why.events import Said
from operations.why.facts import Facts, Refusal, Row

Kind = Literal["came", "wallet", "progress", "ended", "mail", "refused", "replayed"]
NOBODY = Said(datetime.min.replace(tzinfo=UTC))


@dataclass(frozen=True)
class Happening:
    """Something that happened."""

    kind: Kind
    text: str
    at: datetime | None
    "None: when is not known; `offset` says between what."
    offset: int | None = None
    "Of the event, in the order's partition; None where it is none of its events."


def story(facts: Facts, said: Mapping[int, Said]) -> list[Happening]:
    """Everything that is known to have happened, the first first."""
    return in_order([*_events(facts, said), *_mails(facts), *_refusals(facts)])


def in_order(happenings: Iterable[Happening]) -> list[Happening]:
    """Sorted: what has an offset by that, since the log's order is the order of things; the rest by time between them.

    Where the time of an event is not known, or goes back, it counts as that of the event before it.
    """
    happenings = list(happenings)
    events = sorted((one for one in happenings if one.offset is not None), key=lambda one: one.offset or 0)
    keyed: list[tuple[float, int, Happening]] = []
    latest = float("-inf")
    for number, event in enumerate(events):
        latest = max(latest, event.at.timestamp() if event.at is not None else latest)
        keyed.append((latest, number, event))
    others = [one for one in happenings if one.offset is None]
    keyed += [(one.at.timestamp() if one.at else latest, len(events) + n, one) for n, one in enumerate(others)]
    return [one for _, _, one in sorted(keyed, key=lambda item: item[:2])]


def _events(facts: Facts, said: Mapping[int, Said]) -> Iterator[Happening]:
    order, assignment = facts.order, facts.assignment
    if order is None:
        return
    if (offset := order["pending_offset"]) is not None:
        event = said.get(offset, NOBODY)
        yield Happening("came", _came(order, assignment) + _by(event), order["pending_at"], offset)
    if assignment is not None:
        text = _assigned(order, assignment, said.get(assignment["assigned_offset"]))
        yield Happening("wallet", text, assignment["assigned_at"], assignment["assigned_offset"])
    for step in ("paid", "processing"):
        if (offset := order[f"{step}_offset"]) is not None:
            known = said.get(offset)
            yield Happening("progress", step + _by(known or NOBODY), known.at if known else None, offset)
    if (offset := order["ended_offset"]) is not None:
        yield Happening("ended", _ended(facts, said.get(offset, NOBODY)), order["ended_at"], offset)


def _came(order: Row, assignment: Row | None) -> str:
    text = f"came: {order['amount']} {order['currency']} on {order['network']}"
    if order["ended_offset"] is not None and order["ended_offset"] < order["pending_offset"]:
        return text + ", after it had ended: it gets nothing"
    if order["expires_at"] is not None:
        text += f", expires {order['expires_at']:%Y-%m-%d %H:%M:%S}Z"
    if assignment is None or assignment["waited"]:
        text += "; no wallet was free, so it waits"
    return text


def _assigned(order: Row, assignment: Row, event: Said | None) -> str:
    wallet = f"gets the wallet {assignment['address']}"
    if not assignment["waited"]:
        return f"{wallet} at once"
    waited = exactly((assignment["assigned_at"] - order["pending_at"]).total_seconds())
    text = f"{wallet} after waiting {waited}"
    if event is None:
        return text
    if event.order_id is not None:
        return f"{text}: the order {event.order_id} became {event.status} and gave it back"
    return f"{text}: " + ("its cooling was over" if event.type == "wallet_cooled" else "it was added to the pool")


def _ended(facts: Facts, event: Said) -> str:
    order = facts.order
    assert order is not None
    reason, actor = order["reason"] or event.reason, order["actor"] or event.actor
    text = (
        str(order["status"])
        + (f" ({masked_text(reason)})" if reason else "")
        + (f" by {masked_text(actor)}" if actor else "")
    )
    assignment = facts.assignment
    if order["pending_offset"] is None:
        text += ", before it came"
    elif assignment is not None and assignment["released_offset"] == order["ended_offset"]:
        text += f"; gives back the wallet {assignment['address']}"
        text += f", which the order {facts.released_to} gets" if facts.released_to else ""
    elif assignment is None and order["pending_offset"] < order["ended_offset"]:
        text += "; leaves the queue without a wallet"
    return text + _replayed_from(event)


def _by(event: Said) -> str:
    return (f", by {masked_text(event.actor)}" if event.actor else "") + _replayed_from(event)


def _replayed_from(event: Said) -> str:
    return f" (replayed from the dead letter {event.replay_of} by {event.replay_by})" if event.replay_of else ""


def _mails(facts: Facts) -> Iterator[Happening]:
    for row in facts.deliveries:
        mail = "the mail with the wallet" if row["kind"] == "assigned" else "the mail that it waits"
        yield Happening("mail", f"{mail} is due", row["created_at"])
        outcome = masked_text(row["outcome"] or "")
        if row["state"] == "sent":
            by = f", {outcome}" if outcome.startswith(SETTLED) else ""
            yield Happening("mail", f"{mail} is sent, at attempt {row['attempts']}{by}", row["sent_at"])
        elif row["state"] in ("due", "sending"):
            if row["attempts"]:
                tried = f"{mail} was tried {row['attempts']} times: {outcome}"
                yield Happening("mail", tried, row["updated_at"])
        else:
            yield Happening("mail", f"{mail} is {row['state']}: {outcome}", row["updated_at"])


def _refusals(facts: Facts) -> Iterator[Happening]:
    for refusal in facts.refusals:
        is_here = refusal.place[:2] == (facts.topic, facts.partition)
        yield Happening("refused", refused(refusal), refusal.record_at, refusal.place.offset if is_here else None)
        for replay in refusal.replays:
            if replay.published_at is not None:
                where = f"{refusal.place.topic}/{replay.target_partition}/{replay.published_offset}"
                text = f"that dead letter ({refusal.place}) was replayed by {replay.actor}, as {where}"
                yield Happening("replayed", text, replay.published_at)


def refused(refusal: Refusal) -> str:
    """A dead letter in a sentence."""
    what = masked_text(refusal.event or "an event")
    return f"{what} is refused, {refusal.reason}: {masked_text(refusal.message)} (dead letter {refusal.place})"
