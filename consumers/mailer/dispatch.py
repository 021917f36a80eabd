"""From due deliveries to sent mails: claim, send, settle, a bounded number at a time."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Literal
from uuid import uuid4

import structlog

from consumers.mailer.deliveries import Claim, Deliveries, Settled
from consumers.mailer.endings import GIVE_BACK, Backoff, Dossier, Ending, after_sending, before_sending
from consumers.mailer.gate import Gate
from consumers.mailer.letters import Message
from consumers.mailer.notices import MAIL_REFUSED, DeadLetter, Record, dead_letter
from consumers.mailer.patience import SERVER_AWAY, first_of, patiently
from consumers.mailer.smtp import Connections
from consumers.mailer.verdicts import Kind, Verdict
from schemas.events import WalletAssigned
from schemas.settings import Settings

log = structlog.get_logger(__name__)

AHEAD = 8
"Deliveries claimed for each connection, so that none waits for the database."
FRESH_SECONDS = 1.0
"What was read of a delivery longer ago is read again before its mail goes out."
LOOK_SECONDS = 1.0
"Between two looks for what other mailers left."
LONGEST_SEND_SECONDS = 30.0

Composer = Callable[[Dossier, datetime], Message]
"Writes the mail of a delivery at a time."


@dataclass(frozen=True)
class Terms:
    """The limits by which a mailer works."""

    connections: int
    lease_seconds: float
    unknown: Literal["resend", "hold"]
    backoff: Backoff = field(default_factory=Backoff)
    stop_seconds: float = 8.0

    @classmethod
    def of(cls, settings: Settings) -> "Terms":
        """Those of the settings."""
        return cls(settings.mail_connections, settings.mail_lease_seconds, settings.mail_unknown)

    @property
    def in_flight(self) -> int:
        """The most deliveries under lease. Where an unknown outcome is held none is claimed ahead: after a crash
        every claimed delivery counts as one."""
        return self.connections * (AHEAD if self.unknown == "resend" else 1)

    @property
    def send_seconds(self) -> float:
        """The longest that an attempt may take: well below the lease, or another mailer would send the same mail."""
        return min(LONGEST_SEND_SECONDS, self.lease_seconds / 2)

    @property
    def begin_seconds(self) -> float:
        """An attempt begins within so many seconds of its claim, or not at all."""
        return self.lease_seconds * 0.9 - self.send_seconds


@dataclass(frozen=True, slots=True)
class Task:
    """A claimed delivery that waits for a connection, and what was known of it at `read_at` (monotonic)."""

    claim: Claim
    dossier: Dossier
    claimed_at: float
    read_at: float
    is_probe: bool

    def now(self) -> datetime:
        """The database's time, from its last answer and ours since."""
        return self.dossier.read_at + timedelta(seconds=time.monotonic() - self.read_at)


class Dispatcher:
    """Sends what is due."""

    def __init__(
        self,
        deliveries: Deliveries,
        connections: Connections,
        gate: Gate,
        compose: Composer,
        terms: Terms,
        on_dead_letter: Callable[[], None],
    ) -> None:
        """Wire it; nothing happens yet."""
        self._deliveries = deliveries
        self._connections = connections
        self._gate = gate
        self._compose = compose
        self._terms = terms
        self._on_dead_letter = on_dead_letter
        self._waiting: asyncio.Queue[Task] = asyncio.Queue()
        self._settled: asyncio.Queue[Settled] = asyncio.Queue()
        self._in_flight = 0
        self.wake = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop`; then finish what is in flight, within `stop_seconds`."""
        async with asyncio.TaskGroup() as tasks:
            workers = [tasks.create_task(self._work()) for _ in range(self._terms.connections)]
            workers.append(tasks.create_task(self._settle()))
            while not stop.is_set():
                self.wake.clear()
                pause = await patiently(self._claim, what="claiming deliveries", stop=stop)
                if pause:
                    await first_of(self.wake, pause)
                self._connections.close_idle()
            await self._finish()
            for worker in workers:
                worker.cancel()
        await self._connections.close()

    async def _claim(self) -> float:
        """Take on as many deliveries as there is room for. Seconds to wait before the next look."""
        room = self._gate.room(self._terms.in_flight - self._in_flight, self._in_flight)
        if room <= 0:
            return LOOK_SECONDS if self._gate.is_open or self._in_flight else max(0.01, self._gate.probe_in)
        holder = uuid4()
        is_probe = not self._gate.is_open
        claimed_at = time.monotonic()
        claims = await self._deliveries.claim(room, holder, self._terms.lease_seconds)
        read_at = time.monotonic()
        for claim, dossier in claims:
            self._in_flight += 1
            self._waiting.put_nowait(Task(claim, dossier, claimed_at, read_at, is_probe))
        if len(claims) == room:
            return 0.0
        due = await self._deliveries.next_due()
        # Due and not claimed: another mailer is claiming it in this moment.
        return LOOK_SECONDS if due is None else min(max(due, 0.02), LOOK_SECONDS)

    async def _work(self) -> None:
        while True:
            task = await self._waiting.get()
            self._settled.put_nowait(await self._attempt(task))

    async def _attempt(self, task: Task) -> Settled:
        waited = time.monotonic() - task.claimed_at
        if waited > self._terms.begin_seconds or not (self._gate.is_open or task.is_probe):
            return Settled(task.claim, GIVE_BACK)
        if time.monotonic() - task.read_at > FRESH_SECONDS:
            looked = await self._look_again(task)
            if looked is None:
                return Settled(task.claim, GIVE_BACK)
            task = looked
        ending = before_sending(
            task.dossier, interrupted=task.claim.interrupted, unknown=self._terms.unknown, now=task.now()
        )
        if ending is None:
            ending = await self._send(task)
        return Settled(
            task.claim,
            ending,
            address=task.dossier.address if ending.shown else None,
            dead_letter=mail_refused(task.dossier, ending) if ending.state == "failed" else None,
        )

    async def _look_again(self, task: Task) -> Task | None:
        try:
            dossier = await self._deliveries.look(task.claim)
        except SERVER_AWAY:
            return None
        return None if dossier is None else replace(task, dossier=dossier, read_at=time.monotonic())

    async def _send(self, task: Task) -> Ending:
        try:
            message = self._compose(task.dossier, task.now())
        except Exception as error:  # noqa: BLE001  whatever it is about this one, the others must not wait for it
            return Ending("failed", f"the mail cannot be written: {type(error).__name__}", counted=True)
        began_at = time.monotonic()
        verdict = await self._connections.send(message, self._terms.send_seconds)
        self._report(verdict, began_at)
        assert task.dossier.expires_at is not None
        return after_sending(
            verdict,
            attempts=task.dossier.attempts,
            expires_at=task.dossier.expires_at,
            now=task.now(),
            unknown=self._terms.unknown,
            backoff=self._terms.backoff,
            draw=random.random,
        )

    def _report(self, verdict: Verdict, began_at: float) -> None:
        if verdict.kind is Kind.SERVER_REFUSES:
            if (pause := self._gate.refused(began_at)) is not None:
                log.error("mail_server_refuses_us", answer=verdict.text, pause_seconds=pause)
        elif self._gate.passed(began_at):
            log.info("mail_server_takes_mails_again")

    async def _settle(self) -> None:
        """Write outcomes, as many as have come together since the last time."""
        never = asyncio.Event()  # an outcome is worth any patience: without it the mail goes out twice
        while True:
            batch = [await self._settled.get()]
            while not self._settled.empty():
                batch.append(self._settled.get_nowait())
            held = await patiently(partial(self._deliveries.settle, batch), what="settling", stop=never)
            self._in_flight -= len(batch)
            self.wake.set()
            for one in batch:
                if one.ending is not GIVE_BACK:
                    _log(one, lease_held=one.claim.notification_id in (held or ()))
                if one.dead_letter is not None:
                    self._on_dead_letter()

    async def _finish(self) -> None:
        """Give back what has not begun, and wait for the rest; what takes too long keeps its lease until its end."""
        while not self._waiting.empty():
            self._settled.put_nowait(Settled(self._waiting.get_nowait().claim, GIVE_BACK))
        try:
            async with asyncio.timeout(self._terms.stop_seconds):
                while self._in_flight:
                    self.wake.clear()
                    await self.wake.wait()
        except asyncio.TimeoutError:
            log.warning("mails_left_in_flight", count=self._in_flight)


def mail_refused(dossier: Dossier, ending: Ending) -> DeadLetter:
    """The dead letter of a notification whose mail failed; its bytes are written anew."""
    assert dossier.amount is not None
    assert dossier.expires_at is not None
    value = WalletAssigned(
        notification_id=dossier.notification_id,
        order_id=dossier.order_id,
        currency=dossier.currency,
        network=dossier.network,
        address=dossier.address,
        amount=dossier.amount,
        waited=dossier.waited,
        assigned_at=dossier.assigned_at,
        expires_at=dossier.expires_at,
    )
    record = Record(
        dossier.partition,
        dossier.offset,
        round(dossier.assigned_at.timestamp() * 1000),
        dossier.order_id.encode(),
        value.model_dump_json().encode(),
        dossier.traceparent,
    )
    return dead_letter(record, MAIL_REFUSED, ending.outcome or "")


def _log(one: Settled, *, lease_held: bool) -> None:
    ending = one.ending
    report = {"sent": log.debug, "failed": log.warning, "held": log.warning}.get(ending.state, log.info)
    report(
        "mail_" + ending.state,
        notification_id=str(one.claim.notification_id),
        outcome=ending.outcome,
        delay=ending.delay,
    )
    if not lease_held:
        log.warning("lease_lost", notification_id=str(one.claim.notification_id), outcome=ending.outcome)
