"""From due deliveries to sent mails: claim, send, settle, a bounded number at a time."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol, TypeVar
from uuid import uuid4

import structlog

from consumers.mailer.connections import Connections, NoAddress
from consumers.mailer.deliveries import Claim, Deliveries, Settled
from consumers.mailer.endings import (
    GIVE_BACK,
    Dossier,
    Ending,
    after_sending,
    before_sending,
    put_off,
    when_claimed,
)
from consumers.mailer.gate import Gate
from consumers.mailer.letters import Message, UnwritableLetter
from consumers.mailer.limits import Go, Later, Limits, domain_of
from consumers.mailer.notices import mail_refused
from consumers.mailer.patience import SERVER_AWAY, patiently
from consumers.mailer.silence import Silence
from consumers.mailer.terms import Terms
from consumers.mailer.verdicts import Kind, Phase, Verdict
from storage.waiting import first_of

T = TypeVar("T")
log = structlog.get_logger(__name__)

FRESH_SECONDS = 1.0
"What was read of a delivery longer ago is read again before its mail goes out."
LOOK_SECONDS = 1.0
"Between two looks for what other mailers left."
HASTENED_TOGETHER = 1_000
"Of the mails that met silence so many are made due in one statement."

Composer = Callable[[Dossier, datetime], Message]
"Writes the mail of a delivery at a time."


@dataclass(frozen=True, slots=True)
class Task:
    """A claimed delivery that waits for a connection, and what was known of it at `read_at` (monotonic)."""

    claim: Claim
    dossier: Dossier
    claimed_at: float
    read_at: float
    is_probe: bool

    @property
    def waited(self) -> float:
        """Seconds since it was claimed."""
        return time.monotonic() - self.claimed_at

    def now(self) -> datetime:
        """The database's time, from its last answer and ours since."""
        return self.dossier.read_at + timedelta(seconds=time.monotonic() - self.read_at)


class Watch(Protocol):
    """Is told what a dispatcher does."""

    def attempted(self, dossier: Dossier, verdict: Verdict, claimed_at: float, began_at: float) -> None:
        """An attempt that began then has just ended. Monotonic seconds."""
        ...

    def settled(self, batch: Sequence[Settled]) -> None:
        """These outcomes are written."""
        ...


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
        watch: Watch | None = None,
    ) -> None:
        """Wire it; nothing happens yet."""
        self._deliveries = deliveries
        self._connections = connections
        self._gate = gate
        self._compose = compose
        self._terms = terms
        self._on_dead_letter = on_dead_letter
        self._watch = watch
        self._limits = Limits(terms.per_second, terms.per_domain)
        self._stopping = asyncio.Event()
        self._waiting: asyncio.Queue[Task] = asyncio.Queue()
        self._settled: asyncio.Queue[Settled] = asyncio.Queue()
        self._in_flight = 0
        self._turns = 0
        self._errors: dict[str, str] = {}
        self._silence = Silence(time.monotonic, terms.forget_seconds)
        self._answers_again = asyncio.Event()
        "After an outage; what met silence is not due yet."
        self._wants_room = False
        "There may be more that is due than there was room for."
        self._look_at = 0.0
        "When the database is asked again what is due next (monotonic); none of ours is due before."
        self.wake = asyncio.Event()

    @property
    def in_flight(self) -> int:
        """How many deliveries are claimed."""
        return self._in_flight

    @property
    def lease_seconds(self) -> float:
        """Within which the outcome of each of them is known."""
        return self._terms.lease_seconds

    @property
    def turns(self) -> int:
        """Grows with each look at what is due, and with each outcome that is written."""
        return self._turns

    @property
    def error(self) -> str | None:
        """Why the last attempt to claim, settle or hasten came to nothing; it is made again."""
        return next((f"{what}: {error}" for what, error in self._errors.items()), None)

    @property
    def silent_seconds(self) -> float | None:
        """For how long every attempt has met silence; None where the last was answered, or is long ago."""
        return self._silence.seconds

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop`; then finish what is in flight, within `stop_seconds`."""
        async with asyncio.TaskGroup() as tasks:
            workers = [tasks.create_task(self._work()) for _ in range(self._terms.connections)]
            workers.append(tasks.create_task(self._settle()))
            workers.append(tasks.create_task(self._hasten()))
            while not stop.is_set():
                self.wake.clear()
                pause = await self._patiently(self._claim, "claiming deliveries", stop)
                if pause:
                    await first_of(self.wake, pause)
                self._connections.close_idle()
            self._stopping.set()
            await self._finish()
            for worker in workers:
                worker.cancel()
        await self._connections.close()

    async def _patiently(self, step: Callable[[], Awaitable[T]], what: str, stop: asyncio.Event) -> T | None:
        """As `patiently` does it, and note meanwhile why it has to be done again."""

        async def noted() -> T:
            try:
                result = await step()
            except SERVER_AWAY as error:
                self._errors[what] = type(error).__name__
                raise
            self._errors.pop(what, None)
            return result

        return await patiently(noted, what=what, stop=stop)

    async def _claim(self) -> float:
        """Take on as many deliveries as there is room for. Seconds to wait before the next look."""
        room = self._gate.room(self._terms.in_flight - self._in_flight, self._in_flight)
        self._wants_room = room <= 0
        if self._wants_room:
            self._turns += not self._in_flight
            return LOOK_SECONDS if self._gate.is_open or self._in_flight else max(0.01, self._gate.probe_in)
        holder = uuid4()
        is_probe = not self._gate.is_open
        claimed_at = time.monotonic()
        claims = await self._deliveries.claim(room, holder, self._terms.lease_seconds)
        read_at = time.monotonic()
        self._turns += 1
        for claim, dossier in claims:
            self._in_flight += 1
            if ending := when_claimed(interrupted=claim.interrupted, unknown=self._terms.unknown):
                self._settled.put_nowait(Settled(claim, ending))
            else:
                self._waiting.put_nowait(Task(claim, dossier, claimed_at, read_at, is_probe))
        if len(claims) == room:
            return 0.0
        if time.monotonic() >= self._look_at:
            due = await self._deliveries.next_due()
            # Due and not claimed: another mailer is claiming it in this moment.
            self._look_at = time.monotonic() + (LOOK_SECONDS if due is None else min(max(due, 0.02), LOOK_SECONDS))
        return max(0.01, self._look_at - time.monotonic())

    async def _hasten(self) -> None:
        """After an outage make due what met silence: in portions, and beside the claims, which must not wait for it."""
        portion = partial(self._deliveries.hasten, HASTENED_TOGETHER)
        while True:
            await self._answers_again.wait()
            self._answers_again.clear()
            mails, is_more = 0, True
            while is_more:
                hastened = await self._patiently(portion, "hastening mails", self._stopping) or 0
                mails += hastened
                self._look_at = 0.0
                self.wake.set()
                is_more = hastened == HASTENED_TOGETHER and not self._stopping.is_set()
            log.info("mail_server_answers_again", mails_hastened=mails)

    async def _work(self) -> None:
        while True:
            task = await self._waiting.get()
            self._settled.put_nowait(await self._attempt(task))

    async def _attempt(self, task: Task) -> Settled:
        ending = before_sending(task.dossier, task.now()) or await self._turn(task)
        if ending is None and time.monotonic() - task.read_at > FRESH_SECONDS:
            dossier = await self._look_again(task.claim)
            if dossier is not None:
                task = replace(task, dossier=dossier, read_at=time.monotonic())
            ending = GIVE_BACK if dossier is None else before_sending(dossier, task.now())
        if ending is None:
            ending = await self._send(task) if self._may_begin(task) else GIVE_BACK
        return Settled(
            task.claim,
            ending,
            address=task.dossier.address if ending.shown else None,
            dead_letter=mail_refused(task.dossier, ending),
        )

    async def _turn(self, task: Task) -> Ending | None:
        """Wait until the limits let the mail go; how the delivery ends, for now, where they do not."""
        if not self._may_begin(task):
            return GIVE_BACK
        assert task.dossier.email is not None
        patience = self._terms.begin_seconds - task.waited
        match self._limits.ask(domain_of(task.dossier.email), time.monotonic(), patience):
            case Later(seconds):
                return put_off(seconds)
            case Go(seconds) if seconds > 0:
                await first_of(self._stopping, seconds)
        return None

    def _may_begin(self, task: Task) -> bool:
        in_time = task.waited <= self._terms.begin_seconds
        return in_time and (self._gate.is_open or task.is_probe) and not self._stopping.is_set()

    async def _look_again(self, claim: Claim) -> Dossier | None:
        try:
            return await self._deliveries.look(claim)
        except SERVER_AWAY:
            return None

    async def _send(self, task: Task) -> Ending:
        try:
            message = self._compose(task.dossier, task.now())
        except UnwritableLetter as error:
            return Ending("failed", f"the mail cannot be written: {error}", counted=True)
        except Exception as error:  # noqa: BLE001  whatever it is about this one, the others must not wait for it
            return Ending("failed", f"the mail cannot be written: {type(error).__name__}", counted=True)
        began_at = time.monotonic()
        try:
            verdict = await self._connections.send(
                message, self._terms.send_seconds, self._terms.answer_seconds - task.waited
            )
        except NoAddress as error:
            return Ending("failed", f"the mail cannot be addressed: {error}", counted=True)
        self._report(verdict, began_at)
        if self._watch is not None:
            self._watch.attempted(task.dossier, verdict, task.claimed_at, began_at)
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
        if self._silence.note(verdict, began_at) >= self._terms.outage_seconds:
            self._answers_again.set()
        if verdict.kind is Kind.SERVER_REFUSES:
            if (pause := self._gate.refused(began_at)) is not None:
                log.error("mail_server_refuses_us", answer=verdict.text, pause_seconds=pause)
        elif verdict.phase > Phase.MAIL:
            if self._gate.passed(began_at):
                log.info("mail_server_takes_mails_again")
        else:
            self._gate.unanswered(began_at)

    async def _settle(self) -> None:
        """Write outcomes, as many as have come together since the last time."""
        never = asyncio.Event()  # an outcome is worth any patience: without it the mail goes out twice
        while True:
            batch = [await self._settled.get()]
            while not self._settled.empty():
                batch.append(self._settled.get_nowait())
            held = await self._patiently(partial(self._deliveries.settle, batch), "settling", never)
            self._in_flight -= len(batch)
            self._turns += 1
            if self._watch is not None:
                self._watch.settled(batch)
            if delays := [one.ending.delay for one in batch if one.ending.state == "due"]:
                self._look_at = min(self._look_at, time.monotonic() + min(delays))
            if self._wants_room or delays:
                self.wake.set()
            for one in batch:
                if one.ending is not GIVE_BACK:
                    _log(one, lease_held=one.claim.notification_id in (held or ()))
                if one.dead_letter is not None:
                    self._on_dead_letter()

    async def _finish(self) -> None:
        """Give back what has not begun, and wait for the rest; what takes too long keeps its lease until its end."""
        self._wants_room = True  # to be told of every end
        while not self._waiting.empty():
            self._settled.put_nowait(Settled(self._waiting.get_nowait().claim, GIVE_BACK))
        try:
            async with asyncio.timeout(self._terms.stop_seconds):
                while self._in_flight:
                    self.wake.clear()
                    await self.wake.wait()
        except asyncio.TimeoutError:
            log.warning("mails_left_in_flight", count=self._in_flight)


def _log(one: Settled, *, lease_held: bool) -> None:
    ending = one.ending
    report = {"sent": log.debug, "failed": log.warning, "held": log.warning}.get(ending.state, log.info)
    if ending.state == "due" and not ending.counted:
        report = log.debug  # nothing about this mail: the server refuses us, or a limit is reached
    report(
        "mail_" + ending.state,
        order_id=one.claim.order_id,
        notification_id=str(one.claim.notification_id),
        outcome=ending.outcome,
        delay=ending.delay,
    )
    if not lease_held:
        log.warning("lease_lost", notification_id=str(one.claim.notification_id), outcome=ending.outcome)
