"""The options and arguments that several commands share."""

import math
import re
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Currency = Annotated[str, typer.Option("--currency", "-c", metavar="C", help="The currency's code, such as USDT.")]
Network = Annotated[
    str | None,
    typer.Option("--network", "-n", metavar="N", help="The network; may be left out where the currency has one."),
]
OrderCurrency = Annotated[
    str | None,
    typer.Option("--currency", "-c", metavar="C", help="Where several currencies have an order with this id."),
]
Limit = Annotated[int, typer.Option("--limit", "-l", metavar="N", help="At most so many.", min=1, max=100_000)]
Addresses = Annotated[
    list[str] | None,
    typer.Argument(metavar="ADDRESS...", help="Addresses, in any form that the network knows.", show_default=False),
]
AddressFile = Annotated[
    str | None,
    typer.Option("--file", "-f", metavar="F", help="A file with an address on each line; - is standard input."),
]

MOST_OF_AN_ACTOR = 200
MOST_OF_A_NOTE = 200
LONGEST_SECONDS = 36_525 * 86_400
SHORTEST_INTERVAL = 0.1
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def read_actor(text: str) -> str:
    """Who does it, as short as events have it."""
    if len(text) > MOST_OF_AN_ACTOR:
        raise typer.BadParameter(f"expected at most {MOST_OF_AN_ACTOR} characters")
    return text


Actor = Annotated[
    str | None,
    typer.Option("--actor", metavar="WHO", parser=read_actor, help="Who does it; operator:LOGIN where it is left out."),
]


class Target(StrEnum):
    """The statuses that an operator can set."""

    paid = "paid"
    processing = "processing"
    completed = "completed"
    cancelled = "cancelled"
    failed = "failed"


class WalletStatus(StrEnum):
    """The statuses of a wallet."""

    available = "available"
    occupied = "occupied"
    cooling = "cooling"
    retired = "retired"


class DeliveryState(StrEnum):
    """The states of a delivery."""

    due = "due"
    sending = "sending"
    sent = "sent"
    failed = "failed"
    superseded = "superseded"
    expired = "expired"
    held = "held"


def read_duration(text: str) -> float:
    """Seconds of a duration such as 90s, 15m, 2h or 7d."""
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    seconds = int(found[1]) * _SECONDS[found[2]] if found else math.inf
    if seconds > LONGEST_SECONDS:
        raise typer.BadParameter("expected a duration such as 90s, 15m, 2h or 7d, of 100 years at most")
    return float(seconds)


def read_seconds(text: str) -> float:
    """Seconds such as 30 or 0.5."""
    with suppress(ValueError):
        if 0 <= (seconds := float(text)) <= LONGEST_SECONDS:  # nan is in no range
            return seconds
    raise typer.BadParameter("expected seconds such as 30 or 0.5, of 100 years at most")


def read_interval(text: str) -> float:
    """Seconds between two looks."""
    seconds = read_seconds(text)
    if seconds < SHORTEST_INTERVAL:
        raise typer.BadParameter(f"expected {SHORTEST_INTERVAL} seconds at least")
    return seconds


def read_past_time(text: str) -> datetime:
    """A time that is over, such as 2026-11-22T16:00:00Z."""
    with suppress(ValueError):
        time = datetime.fromisoformat(text)
        if time.tzinfo is not None and time <= datetime.now(UTC):
            return time
    raise typer.BadParameter("expected a time that is over, with its offset, such as 2026-11-22T16:00:00Z")


def read_note(text: str) -> str:
    """Words to keep, on one line."""
    if len(text) > MOST_OF_A_NOTE or not text.isprintable():
        raise typer.BadParameter(f"expected at most {MOST_OF_A_NOTE} characters on one line")
    return text


def operator() -> str:
    """Whoever gives the command, as an actor."""
    import getpass

    try:
        return f"operator:{getpass.getuser()}"[:MOST_OF_AN_ACTOR]
    except (OSError, KeyError):  # a container's user may have no name
        return "operator"
