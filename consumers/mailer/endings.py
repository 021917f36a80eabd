"""What becomes of a delivery, before an attempt and after it: pure decisions over plain data."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from consumers.mailer.verdicts import Kind, Verdict

About = Literal["assigned", "queued"]
"Whether a mail says that its order has a wallet, or that it waits for one."
State = Literal["due", "sent", "failed", "superseded", "expired", "held"]
Draw = Callable[[], float]
"A number from 0 up to 1."


@dataclass(frozen=True, slots=True)
class Dossier:
    """What the database knows about a delivery at `read_at`."""

    notification_id: UUID
    kind: About
    partition: int
    offset: int
    order_id: str
    currency: str
    attempts: int
    network: str | None
    email: str | None
    locale: str | None
    amount: str | None
    expires_at: datetime | None
    traceparent: str | None
    read_at: datetime
    address: str | None
    waited: bool | None
    assigned_at: datetime | None
    released: bool
    queue_place: int | None
    ahead: int | None = None
    "How many orders wait before it."


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ends: the delivery's next state, and after which delay it is due again."""

    state: State
    outcome: str | None = None
    counted: bool = False
    delay: float = 0.0
    shown: bool = False
    "The mail was handed to the server, so its address may have been seen."


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter: a random share of base × 2^attempts, at most of the ceiling. Seconds."""

    base: float = 1.0
    ceiling: float = 300.0

    def delay(self, attempts: int, draw: Draw) -> float:
        """How long to wait after so many attempts."""
        return min(self.ceiling, self.base * 2.0 ** min(attempts, 60)) * draw()


GIVE_BACK = Ending("due")
"Nothing was tried: it is due again at once."


def put_off(seconds: float) -> Ending:
    """How a delivery ends for now whose mail has to wait for its turn."""
    return Ending("due", "a limit is reached, its domain's or the overall one", delay=seconds)


def when_claimed(*, interrupted: bool, unknown: Literal["resend", "hold"]) -> Ending | None:
    """How the delivery ends at once; None where its turn may come. Asked before anything else: a claim that is given
    back is not known to have been interrupted any more."""
    if interrupted and unknown == "hold":
        return Ending("held", "unknown: the mailer died while it sent the mail")
    return None


def before_sending(dossier: Dossier, now: datetime) -> Ending | None:
    """How the delivery ends without an attempt; None where its mail is to be sent."""
    if dossier.kind == "queued" and dossier.queue_place is None:
        return Ending("superseded", "the order does not wait any more")
    if dossier.kind == "assigned" and (dossier.released or dossier.address is None):
        return Ending("superseded", "the order has ended, or has another wallet")
    if dossier.email is None or dossier.amount is None or dossier.expires_at is None:
        return Ending("superseded", "the order is not known as a whole")
    if now >= dossier.expires_at:
        return Ending("expired", "the order expired before the mail could be sent")
    return None


def after_sending(
    verdict: Verdict,
    *,
    attempts: int,
    expires_at: datetime,
    now: datetime,
    unknown: Literal["resend", "hold"],
    backoff: Backoff,
    draw: Draw,
) -> Ending:
    """How the attempt ends. `attempts`: how many there were before this one."""
    match verdict.kind:
        case Kind.SENT:
            return Ending("sent", verdict.text, counted=True, shown=True)
        case Kind.PERMANENT:
            return Ending("failed", verdict.text, counted=True)
        case Kind.SERVER_REFUSES:
            return Ending("due", verdict.text)
        case Kind.UNKNOWN if unknown == "hold":
            return Ending("held", f"unknown: {verdict.text}", counted=True, shown=True)
    shown = verdict.kind is Kind.UNKNOWN
    delay = backoff.delay(attempts, draw)
    if delay >= (expires_at - now).total_seconds():
        return Ending(
            "expired", f"the order expires before the next attempt; {verdict.text}", counted=True, shown=shown
        )
    return Ending("due", f"{verdict.kind}: {verdict.text}", counted=True, delay=delay, shown=shown)
