"""Whether a process is alive and ready: a pure decision over its history.

Alive means progress: with work to do and servers that answer, something moves. What a restart would not help (a server
that is away, one that refuses us, an attempt that fails and is made again) leaves a process alive, but not ready.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from monitoring.following import History, Partition

MAIL_SERVER = "mail_server"


class Problem(StrEnum):
    """What can be wrong, by name."""

    LOOP_BLOCKED = "loop_blocked"
    "The event loop has not turned."
    STARTING = "starting"
    "Not everything that the process needs has answered yet."
    DATABASE_AWAY = "database_away"
    KAFKA_AWAY = "kafka_away"
    PARTITION_STUCK = "partition_stuck"
    "There is work, the servers answer, nothing fails, and yet the place does not move."
    PARTITION_FAILS = "partition_fails"
    "As before, but the owner knows why, and tries again."
    OUTBOX_STUCK = "outbox_stuck"
    "What is committed is not published, though the servers answer and nothing fails."
    OUTBOX_FAILS = "outbox_fails"
    MAIL_SERVER_REFUSES = "mail_server_refuses"
    MAIL_SERVER_AWAY = "mail_server_away"
    DISPATCH_STUCK = "dispatch_stuck"
    "Mails are due, the servers answer, and yet none is taken on."
    DISPATCH_FAILS = "dispatch_fails"
    "As before, but the mailer knows why, and tries again: a restart would send mails twice."
    DELIVERIES_OVERDUE = "deliveries_overdue"
    "Mails go out, but later than they should."
    CLOCK_STUCK = "clock_stuck"


NEEDS_RESTART = frozenset(
    {
        Problem.LOOP_BLOCKED,
        Problem.PARTITION_STUCK,
        Problem.OUTBOX_STUCK,
        Problem.DISPATCH_STUCK,
        Problem.CLOCK_STUCK,
    }
)
"The process is not alive: begun anew, it may be."
STILL_READY = frozenset({Problem.DELIVERIES_OVERDUE})

AWAY = {"database": Problem.DATABASE_AWAY, "kafka": Problem.KAFKA_AWAY}


@dataclass(frozen=True)
class Limits:
    """How long something may last before it is a problem. Seconds."""

    stuck: float = 60.0
    "Longer than a statement may take (30 s), so that what hangs on a server fails first, and is known to."
    silent: float = 30.0
    overdue: float = 60.0
    loop: float = 15.0


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem, where it is, and since how many seconds."""

    problem: Problem
    where: str
    seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong, if anything."""

    findings: tuple[Finding, ...]

    @property
    def alive(self) -> bool:
        """Whether it is to go on as it is; a restart would not help."""
        return not any(one.problem in NEEDS_RESTART for one in self.findings)

    @property
    def ready(self) -> bool:
        """Whether it does its work."""
        return all(one.problem in STILL_READY for one in self.findings)


def judge(history: History, now: float, limits: Limits = LIMITS) -> Verdict:
    """The verdict at a time (monotonic seconds)."""
    return Verdict(tuple(_findings(history, now, limits)))


def _findings(history: History, now: float, limits: Limits) -> Iterator[Finding]:
    if now - history.at > limits.loop:
        # Nothing else is known any more.
        yield Finding(Problem.LOOP_BLOCKED, "process", now - history.at, "the event loop has not turned")
        return
    for name, answer in history.servers.items():
        if answer is None:
            yield Finding(Problem.STARTING, name, 0.0, "it has not answered yet")
        elif answer.error is not None:
            yield Finding(AWAY[name], name, now - answer.since, answer.error)
    if all(answer is not None and answer.error is None for answer in history.servers.values()):
        answering_since = max((one.since for one in history.servers.values() if one), default=0.0)
        for partition in history.partitions:
            yield from _of_partition(partition, now, answering_since, limits)
        yield from _of_clock(history, now, answering_since, limits)
        yield from _of_dispatch(history, now, answering_since, limits)
    yield from _of_mail_server(history, limits)


def _of_partition(one: Partition, now: float, answering_since: float, limits: Limits) -> Iterator[Finding]:
    sample = one.sample
    where, why = f"{sample.topic}/{sample.partition}", sample.error or f"it hangs in the step {sample.step}"
    stands = now - max(one.moved_at, answering_since)
    if one.has_work and stands > limits.stuck:
        yield Finding(Problem.PARTITION_FAILS if sample.error else Problem.PARTITION_STUCK, where, stands, why)
    waits = now - max(one.published_at, answering_since)
    if one.has_unpublished and waits > limits.stuck:
        yield Finding(Problem.OUTBOX_FAILS if sample.error else Problem.OUTBOX_STUCK, where, waits, why)


def _of_clock(history: History, now: float, answering_since: float, limits: Limits) -> Iterator[Finding]:
    if history.clock is not None:
        stands = now - max(history.clock_looked_at, answering_since)
        if stands > limits.stuck + history.clock.interval_seconds:
            yield Finding(Problem.CLOCK_STUCK, "clock", stands, "it has not looked at what has expired")


def _of_dispatch(history: History, now: float, answering_since: float, limits: Limits) -> Iterator[Finding]:
    mail, late = history.mail, history.oldest_due_seconds or 0.0
    if mail is None or mail.refusals or _is_silent(mail.silent_seconds, limits):
        return
    stands = now - max(history.mail_turned_at, answering_since)
    if mail.error:
        if stands > limits.stuck:
            yield Finding(Problem.DISPATCH_FAILS, "dispatch", stands, mail.error)
    elif stands > limits.stuck + mail.lease_seconds:
        yield Finding(Problem.DISPATCH_STUCK, "dispatch", stands, f"{mail.in_flight} mails in flight, none ends")
    elif late > limits.overdue:
        yield Finding(Problem.DELIVERIES_OVERDUE, "deliveries", late, "the oldest has been due for so long")


def _of_mail_server(history: History, limits: Limits) -> Iterator[Finding]:
    mail = history.mail
    if mail is None:
        return
    if mail.refusals:
        again = f"it has refused us {mail.refusals} times, and is asked again in {mail.probe_in:.0f} s"
        yield Finding(Problem.MAIL_SERVER_REFUSES, MAIL_SERVER, 0.0, again)
    elif _is_silent(mail.silent_seconds, limits):
        yield Finding(Problem.MAIL_SERVER_AWAY, MAIL_SERVER, mail.silent_seconds or 0.0, "no attempt was answered")


def _is_silent(seconds: float | None, limits: Limits) -> bool:
    return seconds is not None and seconds > limits.silent


def as_json(process: str, history: History, verdict: Verdict, now: float) -> dict[str, Any]:
    """Everything as `/progress` shows it."""
    mail, clock = history.mail, history.clock
    return {
        "process": process,
        "alive": verdict.alive,
        "ready": verdict.ready,
        "problems": [
            {"problem": one.problem, "where": one.where, "seconds": round(one.seconds, 1), "why": one.why}
            for one in verdict.findings
        ],
        "servers": {
            name: None
            if answer is None
            else {"answers": answer.error is None, "seconds": round(now - answer.since, 1), "error": answer.error}
            for name, answer in history.servers.items()
        },
        "partitions": [_partition_json(one, now) for one in history.partitions],
        "mail": mail and mail._asdict() | {"oldest_due_seconds": history.oldest_due_seconds},
        "clock": clock and clock._asdict() | {"seconds": round(now - history.clock_looked_at, 1)},
    }


def _partition_json(one: Partition, now: float) -> dict[str, Any]:
    return one.sample._asdict() | {
        "end_offset": one.end and one.end.end_offset,
        "lag": one.lag,
        "has_work": one.has_work,
        "stalled_seconds": stalled_seconds(one, now),
        "unpublished_seconds": unpublished_seconds(one, now),
    }


def stalled_seconds(one: Partition, now: float) -> float | None:
    """For how long there has been work and no progress; None where it is not known whether there is work."""
    if one.lag is None and not one.has_work:
        return None
    return round(max(0.0, now - one.moved_at), 1) if one.has_work else 0.0


def unpublished_seconds(one: Partition, now: float) -> float:
    """For how long something has been committed and nothing published."""
    return round(max(0.0, now - one.published_at), 1) if one.has_unpublished else 0.0
