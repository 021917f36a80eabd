"""Where an order stands now, in sentences: pure."""

from operations.pace import about, exactly, expected_wait_seconds
from operations.why.facts import Facts, Queue, Row

MAIL_STATES = {
    "due": "is to be sent",
    "sending": "is with a mailer at this moment",
    "sent": "is sent",
    "failed": "failed, and is not tried again: `walletq deliveries retry` does",
    "held": "is held back: `walletq deliveries retry` sends it",
    "expired": "was not sent in time",
    "superseded": "was not sent, since the order had ended or has moved on",
}


def standing(facts: Facts) -> list[str]:
    """The order as it stands now."""
    order = facts.order
    if order is None:
        return []
    if facts.queue is not None:
        return _waits(facts, order, facts.queue)
    if order["address"] is not None:
        since = exactly((facts.now - facts.assignment["assigned_at"]).total_seconds()) if facts.assignment else "?"
        said = [f"It holds the wallet {order['address']} of {order['currency']}/{order['network']} since {since}."]
        if order["status"] == "pending":
            said.append(_expiry(facts, order))
        return said + _mail(facts)
    said = [f"It has ended: it is {order['status']}, and holds nothing."]
    if order["pending_offset"] is None:
        said.append("Its pending event has not come; when it does, the order gets nothing.")
    return said + _mail(facts)


def _waits(facts: Facts, order: Row, queue: Queue) -> list[str]:
    pool = f"{order['currency']}/{order['network']}"
    since = exactly((facts.now - order["pending_at"]).total_seconds())
    said = [f"It waits for a wallet of {pool} since {since}, as number {queue.ahead + 1} of {queue.waiting}."]
    if queue.ahead:
        more = queue.ahead - len(queue.next_in_line)
        named = ", ".join(queue.next_in_line) + (f" and {more:,} more" if more else "")
        said.append(f"Before it: {named}.")
    wait = expected_wait_seconds(queue.ahead, queue.pace)
    if wait is None:
        said.append("No waiting order of this pool got a wallet lately: nobody can tell when it is its turn.")
    else:
        assert queue.pace is not None
        pace = f"{queue.pace.per_hour(queue.pace.waited):,.0f} an hour"
        said.append(f"Waiting orders of this pool got their wallets at {pace} lately: it is its turn in {about(wait)}.")
    said.append(_expiry(facts, order))
    left = (order["expires_at"] - facts.now).total_seconds()
    if wait is not None and wait > left > 0:
        said.append("At this pace it expires before its turn.")
    return said + _mail(facts)


def _expiry(facts: Facts, order: Row) -> str:
    at, left = f"{order['expires_at']:%Y-%m-%d %H:%M:%S}Z", (order["expires_at"] - facts.now).total_seconds()
    if left > 0:
        return f"It expires at {at}, in {about(left)}."
    return f"It expired at {at}, and ends as soon as the clock has said so: does `walletq clock` run?"


def _mail(facts: Facts) -> list[str]:
    order = facts.order
    assert order is not None
    mails = [row for row in facts.deliveries if row["kind"] == "assigned"]
    if not mails:
        if facts.assignment is None:
            return []
        return ["No mailer has taken note of its wallet yet: does `walletq mail` run?"]
    domain = f" to {order['domain']}" if order["domain"] else ""
    return [f"The mail{domain} with its wallet {MAIL_STATES[mails[-1]['state']]}."]
