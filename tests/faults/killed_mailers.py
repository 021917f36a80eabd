"""Mailers that are killed while they send, each life of theirs with a mail server's port of its own."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from pydantic import SecretStr

from embedded.ports import HOST
from schemas.settings import Settings
from schemas.topics import names
from tests.faults.members import Member, Members, members
from tests.servers.ledger import Ledger
from tests.servers.wait import until

MEMBER_IDS = ("mailer-1", "mailer-2")
SENDING_SECONDS = 60


@dataclass
class KilledMailers:
    """Two mailers at a time. Made by `killed_mailers`."""

    ledger: Ledger
    members: Members
    rng: random.Random
    killed_at: dict[int, float] = field(default_factory=dict)
    "When the life with this port of the mail server was killed: seconds of the loop's clock."
    _ports: dict[Member, int] = field(default_factory=dict)

    async def start(self, member: Member) -> None:
        """A new life; nothing is waited for."""
        port = self._ports[member] = await self.ledger.listen()
        member.settings = member.settings.model_copy(update={"smtp_url": SecretStr(f"smtp://{HOST}:{port}")})
        await member.start()

    async def kill_one(self, attempts: int) -> None:
        """kill -9 one of them when there have been so many attempts, it among the others, and start it again."""
        member = self.rng.choice(self.members.all)
        port = self._ports[member]

        def is_time() -> bool:
            return len(self.ledger.attempts) >= attempts and self.ledger.tried_at(port)

        await until(is_time, SENDING_SECONDS, f"{attempts} attempts, some of them of {member.name}")
        await member.kill()
        self.killed_at[port] = asyncio.get_running_loop().time()
        await self.start(member)


@contextlib.asynccontextmanager
async def killed_mailers(settings: Settings, ledger: Ledger, seed: int) -> AsyncIterator[KilledMailers]:
    """The mailers at work.

    Args:
        settings: without a mail server.
        ledger: where they send to.
        seed: of who is killed.
    """
    async with members("mail", names(settings).mailer_group, settings) as of_group:
        mailers = KilledMailers(ledger, of_group, random.Random(seed))
        for member_id in MEMBER_IDS:
            member = Member("mail", settings.model_copy(update={"member_id": member_id}))
            of_group.all.append(member)
            await mailers.start(member)
        yield mailers
