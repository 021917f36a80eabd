"""What became of every mail: the database's word for it held against what the mail server has seen."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import asyncpg

from tests.servers.ledger import Attempt

SETTLE_SECONDS = 5.0
"An acceptance is written down within so long, on however busy a machine."
DELIVERIES = """
SELECT d.notification_id, d.state, d.outcome, a.address, o.email
FROM assignments a
JOIN orders o USING (currency, order_id)
LEFT JOIN deliveries d ON d.notification_id = a.assignment_id
"""


@dataclass
class Tally:
    """The count."""

    mails: int = 0
    attempts: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    "Mails that were accepted, however often."
    twice: Counter[str] = field(default_factory=Counter)
    "How often a mail was accepted again, by the reason why its mailer could not know."
    findings: list[str] = field(default_factory=list)
    "Everything that is not as it must be."

    def as_text(self) -> str:
        """On one line."""
        return (
            f"{self.mails:,} mails, {self.accepted:,} accepted, {_listed(self.states)}; "
            f"{self.attempts:,} attempts: {_listed(self.answers)}; accepted again: {_listed(self.twice) or 'none'}"
        )


def tally(
    rows: Sequence[asyncpg.Record], attempts: Mapping[str, Sequence[Attempt]], killed_at: Mapping[int, float]
) -> Tally:
    """Count.

    Args:
        rows: of `DELIVERIES`.
        attempts: what was tried, by recipient and in its order: every order has one of its own.
        killed_at: when the mailer was killed that sent to a port, in seconds of the same clock.
    """
    count = Tally(mails=len(rows))
    for row in rows:
        tried = attempts.get(row["email"], [])
        accepted = [attempt for attempt in tried if attempt.answer.accepts]
        count.attempts += len(tried)
        count.answers.update(attempt.answer.kind for attempt in tried)
        count.states[row["state"] or "no delivery"] += 1
        count.accepted += bool(accepted)
        for earlier in accepted[:-1]:
            reason = _unknown_because(earlier, killed_at)
            if reason is None:
                count.findings.append(f"{row['email']} was accepted again, though its mailer knew: {tried}")
            else:
                count.twice[reason] += 1
        if problem := _disagreement(row, tried):
            count.findings.append(f"{row['email']}: {problem}: {dict(row)}, {tried}")
        for attempt in tried:
            if attempt.message_id not in (None, str(row["notification_id"])):
                count.findings.append(f"{row['email']} got the mail of another order: {attempt}")
    return count


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.most_common())


def _unknown_because(accepted: Attempt, killed_at: Mapping[int, float]) -> str | None:
    if accepted.answer.kind == "dropped":
        return "dropped after the dot"
    if accepted.at >= killed_at.get(accepted.port, float("inf")) - SETTLE_SECONDS:
        return "mailer killed"
    return None


def _disagreement(row: asyncpg.Record, tried: Sequence[Attempt]) -> str | None:
    """The last attempt says how a delivery has ended. None where the row says the same."""
    state, outcome = row["state"], row["outcome"] or ""
    last = tried[-1].answer if tried else None
    if state == "held" and outcome == "unknown: the mailer died while it sent the mail":
        return None  # whatever it had come to
    if last is None:
        return "it was never tried"
    expected = {"accepted": "sent", "permanent": "failed", "dropped": "held"}.get(last.kind)
    if state != expected:
        return f"expected {expected or 'another attempt'}"
    if state == "failed" and (last.reply or "")[:3] not in outcome:
        return "it failed for another reason"
    return None
