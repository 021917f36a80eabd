"""Random faults for minutes or hours, some of them at the same time, with load all the while.

    python -m tests.faults.soak --minutes 20 --seed 7

One line for each fault; now and then, and at the end, everything is drained and judged. Exit code 1 where anything
does not hold, or does not drain.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from schemas.settings import Settings
from storage.topics import create_topics
from tests.faults import mail_faults, owner_faults, process_faults, server_faults, state_faults
from tests.faults.judge import Judge, Tally
from tests.faults.recovery import recovered
from tests.faults.registry import FAULTS, Fault, Part
from tests.faults.report import Measured, measured, table
from tests.faults.world import World, open_world
from tests.servers import choice, session
from tests.servers.databases import Databases
from tests.servers.disk import own_disk, why_not
from tests.servers.embedded import run_alone
from tests.servers.servers import Servers

# Their import fills the registry.
MODULES = (mail_faults, owner_faults, process_faults, server_faults, state_faults)
LANES = 4
"So many faults at a time."
JUDGED_SECONDS = 240
"So often everything is judged on the way."
RECOVERY_SECONDS = 120
DRAIN_SECONDS = 180
LEASE_SECONDS = 20.0
ALLOCATORS = ("allocator-1", "allocator-2", None)
MAILERS = ("mailer-1", None)
# The long ones are rarer, or little else would happen.
WEIGHTS = {
    "allocator_killed": 4.0,
    "mailer_killed": 4.0,
    "kafka_killed": 2.0,
    "postgres_killed": 2.0,
    "everything_restarted": 0.3,
    "scaled_up_and_down": 0.5,
    "database_restored": 0.5,
}


@dataclass
class Soak:
    """The lanes and what came of them."""

    world: World
    rng: random.Random
    ends_at: float
    pause_seconds: float
    "Between two faults of a lane, on average."
    began_at: float = field(default_factory=time.monotonic)
    injected: Counter[str] = field(default_factory=Counter)
    times: list[Measured] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    _touched: Counter[Part] = field(default_factory=Counter)

    async def run(self) -> None:
        """Inject until the time is over, and judge every few minutes and at the end."""
        judge = Judge(self.world)
        while not self.failures:
            until = min(self.ends_at, time.monotonic() + JUDGED_SECONDS)
            async with asyncio.TaskGroup() as lanes:
                for _ in range(LANES):
                    lanes.create_task(self._lane(until))
            await self._judge(judge)
            if time.monotonic() >= self.ends_at:
                return

    async def _lane(self, until: float) -> None:
        while time.monotonic() < until and not self.failures:
            if fault := self._choose():
                await self._inject(fault)
            await asyncio.sleep(self.rng.expovariate(1 / self.pause_seconds))

    def _choose(self) -> Fault | None:
        """One that touches nothing that the other lanes have in hand; None where they have everything."""
        names = [
            name
            for name, fault in FAULTS.items()
            if not any(self._touched[part] for part in fault.touches) and (self.world.disk or name != "disk_full")
        ]
        if not names:
            return None
        return FAULTS[self.rng.choices(names, [WEIGHTS.get(name, 1.0) for name in names])[0]]

    async def _inject(self, fault: Fault) -> None:
        self._touched.update(fault.touches)
        try:
            since = await fault.inject(self.world)
        except AssertionError as error:
            self._fail(f"{fault.name}: {error}")
            return
        finally:
            self._touched.subtract(fault.touches)
        self.injected[fault.name] += 1
        try:
            recovery = await recovered(self.world, since, RECOVERY_SECONDS)
        except AssertionError as error:
            self._fail(f"after {fault.name}: {error}")
            return
        self.times.append(measured(fault.name, recovery))
        self._say(f"{fault.name:<36} applied after {recovery.applied:5.1f} s, mailed after {recovery.mailed:5.1f} s")

    async def _judge(self, judge: Judge) -> None:
        try:
            self.tally = await judge.judge(DRAIN_SECONDS)
        except AssertionError as error:
            self._fail(f"not drained: {error}")
            return
        for finding in self.tally.findings:
            self._fail(finding)
        if not self.tally.findings:
            self._say(f"judged: {self.tally.events:,} events, {self.tally.mails:,} mails, all invariants hold")

    def _fail(self, what: str) -> None:
        notes = "\n".join(member.last_words() for member in self.world.processes if not member.process.alive)
        self.failures.append(what)
        self._say(f"VIOLATION {what}\n{notes}")

    def _say(self, line: str) -> None:
        print(f"{time.monotonic() - self.began_at:7.1f} s  {line}", flush=True)

    def report(self) -> str:
        """What there was."""
        tally = self.tally
        return "\n".join(
            [
                "",
                *table(self.times),
                "",
                f"faults         {sum(self.injected.values()):,} of {len(self.injected)} kinds",
                f"events         {tally.events:,}",
                f"assignments    {tally.assignments:,}",
                f"notifications  {tally.notifications:,}, of them {tally.notifications - tally.assignments:,} repeated",
                f"mails          {tally.mails:,}, of them {tally.mailed_twice:,} accepted more than once:"
                " the mailer was not told, or was hindered from writing it down",
                f"violations     {len(self.failures)}",
                *self.failures,
            ]
        )


@contextlib.asynccontextmanager
async def fresh(servers: Servers) -> AsyncIterator[Settings]:
    """Settings of a database and topics of their own, prepared."""
    settings = Settings(
        kafka_bootstrap_servers=servers.kafka_bootstrap_servers,
        mail_from="walletq <soak@walletq.example>",
        topic_prefix="soak-",
        session_timeout_ms=6_000,
    )
    databases = Databases(servers.database_admin_url)
    url = await databases.create()
    await create_topics(settings)
    try:
        yield settings.model_copy(update={"database_url": SecretStr(url)})
    finally:
        await databases.drop(url)
        await databases.close()


async def soak(servers: Servers, minutes: float, seed: int, rate: float, faults_per_minute: float) -> int:
    """Do it, print, and return the exit code."""
    async with contextlib.AsyncExitStack() as stack:
        settings = await stack.enter_async_context(fresh(servers))
        disk = None
        if reason := why_not():
            print(f"no full disk: {reason}")
        else:
            disk = await stack.enter_async_context(own_disk(servers.database_admin_url, settings.need_database()))
        world = await stack.enter_async_context(
            open_world(
                servers,
                settings,
                seed=seed,
                rate=rate,
                allocators=ALLOCATORS,
                mailers=MAILERS,
                disk=disk,
                lease_seconds=LEASE_SECONDS,
            )
        )
        ends_at = time.monotonic() + minutes * 60
        work = Soak(world, random.Random(seed), ends_at, pause_seconds=LANES * 60 / faults_per_minute / 4)
        await work.run()
        print(work.report())
        return 1 if work.failures else 0


def main() -> int:
    """Read the arguments, start servers, and soak."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description="Random faults under load.")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--rate", type=float, default=200, help="events a second")
    parser.add_argument("--faults-per-minute", type=float, default=40, help="about; recoveries take their time")
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.minutes:g} minutes, {options.rate:g} events a second")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background lets it be ignored
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # servers that are away are no news here
    with tempfile.TemporaryDirectory(prefix="walletq-soak-") as folder:
        marked = session.mark(Path(folder))
        try:
            chosen = choice.choose(os.environ)
            choice.prepare(chosen, print)
            with choice.running(chosen, Path(folder) / "servers", os.environ) as servers:
                return run_alone(soak(servers, options.minutes, options.seed, options.rate, options.faults_per_minute))
        except KeyboardInterrupt:
            return 130
        finally:
            if left := session.end_left_processes(marked):
                print("left behind, and killed now:\n" + "\n".join(left))


if __name__ == "__main__":
    sys.exit(main())
