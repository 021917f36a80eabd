"""A whole walletq on real servers, with a proxy in front of each, a mail server with moods, and load."""

import asyncio
import contextlib
import random
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from pydantic import SecretStr

from embedded.ports import HOST
from schemas.settings import Settings
from schemas.topics import names
from storage.database import AWAY, connect
from storage.errors import ServerUnreachable
from tests.faults.members import Member, Members, members
from tests.faults.upstream import Upstream, publishing
from tests.reference import SHIPPED, Catalogue
from tests.servers.disk import Disk
from tests.servers.mail_server import MailServer, mail_server
from tests.servers.proxy import Proxy, proxying
from tests.servers.servers import Servers
from tests.servers.wait import until

LEASE_SECONDS = 10.0
"What a killed mailer had in hand waits so long; a machine too busy to keep within it sends mails twice."
SESSION_MS = 6_000
COOLING: Catalogue = {**SHIPPED, "LTC": replace(SHIPPED["LTC"], cooldown_minutes=1)}
"The shipped one, but released wallets of one currency cool, so that the clock has to end that."


@dataclass
class Excuses:
    """When a mailer may not have learnt, or not have kept, that a mail was accepted."""

    spans: list[tuple[float, float]] = field(default_factory=list)

    @contextlib.contextmanager
    def during(self) -> Iterator[None]:
        """From now to the end of the block. Monotonic seconds."""
        span_at = len(self.spans)
        self.spans.append((time.monotonic(), float("inf")))
        try:
            yield
        finally:
            self.spans[span_at] = (self.spans[span_at][0], time.monotonic())


@dataclass
class World:
    """Everything that a fault can touch. Made by `open_world`."""

    servers: Servers
    direct: Settings
    "Past the proxies."
    kafka: Proxy
    postgres: Proxy
    smtp: Proxy
    mail: MailServer
    upstream: Upstream
    allocators: Members
    mailers: Members
    clocks: Members
    rng: random.Random
    disk: Disk | None = None
    "The one that the database is on, where it can be filled."
    excuses: Excuses = field(default_factory=Excuses)
    _connection: asyncpg.Connection | None = None
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def ask(self, query: str, *args: Any, seconds: float = 60) -> list[asyncpg.Record]:
        """The answer of the database, past the proxy, as soon as it gives one."""

        async def answer() -> list[list[asyncpg.Record]]:
            try:
                if self._connection is None:
                    self._connection = await connect(
                        self.direct.need_database(), application="walletq faults", command_seconds=30
                    )
                return [await self._connection.fetch(query, *args)]
            except (*AWAY, ServerUnreachable):
                self.hang_up()
                return []

        async with asyncio.timeout(seconds), self._asking:
            answers: list[list[asyncpg.Record]] = await until(answer, seconds, "the database to answer")
            return answers[0]

    def hang_up(self) -> None:
        """Give our own connection up."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    def some_allocator(self) -> Member:
        """One that no other fault has in hand."""
        return self.rng.choice([member for member in self.allocators.all if not member.busy])

    def some_mailer(self) -> Member:
        """Likewise."""
        return self.rng.choice([member for member in self.mailers.all if not member.busy])

    @property
    def processes(self) -> list[Member]:
        """All of walletq."""
        return [*self.allocators.all, *self.mailers.all, *self.clocks.all]

    def assert_alive(self) -> None:
        """No process of walletq has given up."""
        for member in self.processes:
            if not member.busy:
                member.assert_alive()


@contextlib.contextmanager
def cooling(settings: Settings) -> Iterator[Settings]:
    """With the catalogue `COOLING`."""
    shipped = files("schemas").joinpath("catalogue.toml").read_text()
    before, litecoin = shipped.split("[currencies.LTC]")
    litecoin = litecoin.replace("cool_down_minutes = 0", f"cool_down_minutes = {COOLING['LTC'].cooldown_minutes}")
    with tempfile.TemporaryDirectory(prefix="walletq-catalogue-") as folder:
        file = Path(folder) / "catalogue.toml"
        file.write_text(f"{before}[currencies.LTC]{litecoin}")
        yield settings.model_copy(update={"catalogue": file})


@contextlib.asynccontextmanager
async def open_world(
    servers: Servers,
    settings: Settings,
    *,
    seed: int = 1,
    rate: float = 200,
    allocators: tuple[str | None, ...] = ("allocator-1", "allocator-2"),
    mailers: tuple[str | None, ...] = ("mailer-1", "mailer-2"),
    disk: Disk | None = None,
    lease_seconds: float = LEASE_SECONDS,
    session_ms: int = SESSION_MS,
) -> AsyncIterator[World]:
    """A world at work: all processes run, and have work.

    Args:
        servers: which of them are killed is the faults' matter.
        settings: of a fresh database and topics, past the proxies.
        seed: of traffic and choices.
        rate: events a second.
        allocators: the member ids of the allocators; None is a dynamic one.
        mailers: likewise.
        disk: the one that the database is on, where it can be filled.
        lease_seconds: of the mailers.
        session_ms: after so long without a heartbeat the group gives a member's partitions away.
    """
    if servers.kafka_proxied is None:
        pytest.skip("this Kafka has no listener behind a proxy")
    database = urlsplit(settings.need_database())
    async with contextlib.AsyncExitStack() as stack:
        settings = stack.enter_context(cooling(settings))
        enter = stack.enter_async_context
        mail = await enter(mail_server())
        kafka = await enter(proxying((HOST, servers.kafka_proxied.port), servers.kafka_proxied.proxy_port))
        postgres = await enter(proxying((database.hostname or HOST, database.port or 5432)))
        smtp = await enter(proxying((HOST, mail.port)))
        netloc = f"{database.username}:{database.password}@{postgres.address}"
        proxied = settings.model_copy(
            update={
                "kafka_bootstrap_servers": kafka.address,
                "database_url": SecretStr(urlunsplit(database._replace(netloc=netloc))),
                "smtp_url": SecretStr(f"smtp://{smtp.address}"),
                "session_timeout_ms": session_ms,
                "mail_lease_seconds": lease_seconds,
                "clock_interval_seconds": 0.5,
            }
        )
        of = names(settings)
        world = World(
            servers=servers,
            direct=settings,
            kafka=kafka,
            postgres=postgres,
            smtp=smtp,
            mail=mail,
            upstream=await enter(publishing(settings, seed, rate)),
            allocators=await enter(members("allocate", of.allocator_group, proxied)),
            mailers=await enter(members("mail", of.mailer_group, proxied)),
            clocks=await enter(members("clock", "", proxied)),
            rng=random.Random(seed),
            disk=disk,
        )
        stack.callback(world.hang_up)
        stack.push_async_callback(servers.restore)
        for member_id in allocators:
            await world.allocators.add(member_id)
        for member_id in mailers:
            await world.mailers.add(member_id)
        await world.clocks.add()
        await asyncio.gather(*(member.started() for member in world.processes))
        try:
            yield world
        except BaseException as error:
            for member in world.processes:
                error.add_note(f"--- {member.name}:\n{member.last_words()}")
            raise
