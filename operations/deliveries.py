"""`walletq deliveries`: what it shows, and what it changes: the mailer's table alone, and never what a mailer has."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from operations.database import operator_session
from operations.terminal import Grid, print_grids, print_json
from schemas.settings import Settings, SettingsError
from storage.errors import WalletqError
from storage.sql import read_queries

SQL = read_queries("deliveries")

Change = Literal["retry", "hold"]
Act = Change | Literal["settle"]
SETTLED = "settled by "
"Before the name of the operator, in the outcome."
CLOCKS_DIFFER = timedelta(minutes=1)
"The mail server's and the database's, at most."
BECOMES = {"retry": "due", "hold": "held", "settle": "sent"}
CHANGED = {"retry": ("failed", "held", "expired"), "hold": ("due",)}
"Which states a change is about where neither an id nor a state is given."


@dataclass(frozen=True)
class Wanted:
    """Which deliveries are meant; None: any."""

    ids: Sequence[UUID] | None = None
    states: Sequence[str] | None = None
    order_id: str | None = None
    currency: str | None = None
    older_than: float | None = None
    "Made more than so many seconds ago."
    limit: int = 100

    def arguments(self) -> tuple[object, ...]:
        """As the statements take them."""
        return (self.ids, self.states, self.order_id, self.currency, self.older_than, self.limit)


@dataclass(frozen=True)
class Seen:
    """What an operator has seen in the mail server's log."""

    at: datetime | None = None
    "When the server took the mail; None: before it was held."
    note: str | None = None


@dataclass(frozen=True)
class Found:
    """A delivery, and whether its mail may still go out: its order holds the wallet, or waits, and has not expired."""

    notification_id: UUID
    kind: str
    state: str
    attempts: int
    created_at: datetime
    is_released: bool
    "Its order has given the wallet back."
    is_wanted: bool
    in_time: bool


def unsettled(delivery: Found, at: datetime | None) -> str | None:
    """Why a delivery cannot have gone out at this time, by default when it was held; None where it can."""
    if delivery.state != "held":
        return f"is {delivery.state}: only a mail that is held can be settled"
    if not delivery.attempts:
        return "was held before anybody tried to send it: no mail server can have it"
    if at is None and delivery.is_released:
        return "may have been held after its order had ended: say --at, when the mail server took it"
    if at is not None and at < delivery.created_at - CLOCKS_DIFFER:
        return f"was made later than that, at {delivery.created_at:%Y-%m-%dT%H:%M:%SZ}"
    return None


def refusal(change: Change, delivery: Found) -> str | None:
    """Why a delivery cannot be changed; None where it can."""
    if delivery.state == "sending":
        return "is with a mailer at this moment"
    if change == "hold":
        return None if delivery.state == "due" else f"is {delivery.state}: there is nothing to hold back"
    if delivery.state == "sent":
        return "is sent: a mail goes out once"
    if not delivery.is_wanted:
        waits = delivery.kind == "queued"
        return "cannot be sent: its order " + (
            "does not wait any more" if waits else "has ended, or has another wallet"
        )
    return None if delivery.in_time else "cannot be sent: its order has expired"


def closing(change: Change, delivery: Found) -> str | None:
    """The state in which a mail ends that is held and that nobody may get any more; None where it does not end."""
    if change != "retry" or delivery.state != "held" or refusal(change, delivery) is None:
        return None
    return "expired" if delivery.is_wanted else "superseded"


async def list_deliveries(settings: Settings, wanted: Wanted, *, as_json: bool) -> int:
    """Print deliveries. Returns the exit code."""
    async with operator_session(settings, "deliveries") as connection:
        rows = await connection.fetch(SQL["list"], *wanted.arguments())
    if as_json:
        print_json([dict(row) for row in rows])
        return 0
    columns = ("notification", "mail", "order", "currency", "domain", "state", "attempts", "next attempt", "outcome")
    cells = [
        (
            *(row[name] for name in ("notification_id", "kind", "order_id", "currency", "domain", "state", "attempts")),
            f"{row['next_attempt_at']:%Y-%m-%d %H:%M:%S}Z" if row["next_attempt_at"] else None,
            row["outcome"],
        )
        for row in rows
    ]
    more = ", and perhaps more" if len(rows) == wanted.limit else ""
    print_grids([Grid(f"{len(rows)} deliveries{more}", columns, cells)])
    return 0


async def show_delivery(settings: Settings, notification_id: UUID, *, as_json: bool) -> int:
    """Print one delivery. Returns the exit code.

    Raises:
        WalletqError: there is none with this id.
    """
    async with operator_session(settings, "deliveries") as connection:
        row = await connection.fetchrow(SQL["show"], notification_id)
    if row is None:
        raise WalletqError(f"there is no delivery {notification_id}. `walletq deliveries list` shows which there are.")
    if as_json:
        print_json(dict(row))
    else:
        print_grids([Grid(f"Delivery {notification_id}", ("field", "value"), list(row.items()))])
    return 0


async def change_deliveries(settings: Settings, change: Change, wanted: Wanted, *, actor: str, as_json: bool) -> int:
    """Send deliveries again, or hold them back. Returns the exit code: 1 where none was changed, or one that was named
    was not.

    Raises:
        SettingsError: nothing says which, or ids and a description do.
    """
    is_described = wanted != Wanted(ids=wanted.ids, limit=wanted.limit)
    if bool(wanted.ids) == is_described:
        raise SettingsError("which deliveries? Name their ids, or say --state, --order, --currency or --older-than")
    if wanted.ids:
        wanted = replace(wanted, limit=len(wanted.ids))
    elif wanted.states is None:
        wanted = replace(wanted, states=CHANGED[change])
    async with operator_session(settings, "deliveries") as connection, connection.transaction():
        found = [Found(**row) for row in await connection.fetch(SQL["lock"], *wanted.arguments())]
        refused = {one.notification_id: why for one in found if (why := refusal(change, one))}
        changed = [one.notification_id for one in found if one.notification_id not in refused]
        closed = {one.notification_id: state for one in found if (state := closing(change, one))}
        if change == "retry":
            await connection.execute(SQL["retry"], changed)
            outcomes = [refused[one].removeprefix("cannot be sent: ") for one in closed]
            await connection.execute(SQL["close"], list(closed), list(closed.values()), outcomes)
            refused |= {one: f"{refused[one]}. It is {state} now, and no longer held" for one, state in closed.items()}
        else:
            await connection.execute(SQL["hold"], changed, f"held back by {actor}")
    known = {one.notification_id for one in found}
    refused |= {one: "is not known" for one in wanted.ids or () if one not in known}
    _report(change, changed, refused, as_json=as_json)
    return 0 if changed and not (wanted.ids and refused) else 1


async def settle_delivery(settings: Settings, notification_id: UUID, seen: Seen, *, actor: str, as_json: bool) -> int:
    """Write down that a held mail went out. Returns the exit code: 1 where it cannot be."""
    said = f"{SETTLED}{actor}" + (f": {seen.note}" if seen.note else "")
    async with operator_session(settings, "deliveries") as connection, connection.transaction():
        rows = await connection.fetch(SQL["lock"], *Wanted([notification_id]).arguments())
        why = unsettled(Found(**rows[0]), seen.at) if rows else "is not known"
        if why is None:
            await connection.execute(SQL["settle"], notification_id, seen.at, said)
    _report("settle", [] if why else [notification_id], {notification_id: why} if why else {}, as_json=as_json)
    return 1 if why else 0


def _report(change: Act, changed: Sequence[UUID], refused: dict[UUID, str], *, as_json: bool) -> None:
    if as_json:
        print_json({"changed": list(changed), "refused": {str(one): why for one, why in refused.items()}})
        return
    print(f"{len(changed)} deliveries are {BECOMES[change]} now")
    for one, why in refused.items():
        print(f"{one} {why}", file=sys.stderr)
