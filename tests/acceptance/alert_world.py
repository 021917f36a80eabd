"""Where alerts are seen: walletq's processes, a mail server in any mood, and a real Prometheus that scrapes them."""

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
from pydantic import SecretStr

from embedded.ports import HOST
from schemas.settings import Settings
from tests.integration.allocator_world import Document, messages, publish
from tests.servers.endpoint import free_port
from tests.servers.mail_server import MailServer, mail_server
from tests.servers.processes import Process, process
from tests.servers.prometheus import Prometheus, firing, scraping
from tests.servers.servers import Servers
from tests.servers.wait import until

PROCESSES = ("allocate", "mail", "clock")
SEEN: set[str] = set()
"The alerts that some test sees fire and clear; see `sees`."


@dataclass
class World:
    """Made by `sees`. No process of walletq runs before `start`."""

    settings: Settings
    database: asyncpg.Connection
    servers: Servers
    mail: MailServer
    prometheus: Prometheus
    folder: Path
    ports: Mapping[str, int]
    lives: contextlib.AsyncExitStack
    alerts: tuple[str, ...]
    "Those that are to be seen."
    fired: set[str] = field(default_factory=set)
    cleared: set[str] = field(default_factory=set)
    running: dict[str, Process] = field(default_factory=dict)

    async def start(self, *names: str, errors: Path | None = None, **changes: object) -> None:
        """Begin these processes, and wait until they are ready and none of the alerts fires: what fires later comes of
        what is done to them.

        Args:
            errors: their standard error, where that is not to be a file.
            changes: of their settings.
        """
        await self.begin(*names, errors=errors, **changes)
        jobs = "|".join(f"walletq-{name}" for name in names)

        async def all_ready() -> bool:
            return len(await self.prometheus.query(f'walletq_ready{{job=~"{jobs}"}} == 1')) == len(names)

        await until(all_ready, 40, f"{', '.join(names)} to be ready, as Prometheus sees it")
        for alert in self.alerts:
            await self._silence(alert, 40)

    async def begin(self, *names: str, errors: Path | None = None, **changes: object) -> None:
        """As `start`; nothing is waited for."""
        settings = self.settings.model_copy(update=changes)
        for name in names:
            env = {"WALLETQ_HTTP_PORT": str(self.ports[name])}
            self.running[name] = await self.lives.enter_async_context(process(name, settings, env=env, errors=errors))

    async def end(self, *names: str) -> None:
        """SIGTERM, and wait for an end in good order."""
        for name in names:
            self.running[name].terminate()
        for name in names:
            assert await self.running[name].wait() == 0

    async def publish(self, *documents: Document) -> None:
        """These events, as a good producer does."""
        await publish(self.settings, messages(*documents))

    async def fires(self, *alerts: str, times: int = 1, seconds: float = 40) -> None:
        """Wait until each of these fires, for so many series or more."""
        for alert in alerts:

            async def so_often(alert: str = alert) -> bool:
                return len(await self.prometheus.firing(alert)) >= times

            await until(so_often, seconds, f"{alert} to fire")
            self.fired.add(alert)

    async def clear(self, *alerts: str, seconds: float = 40) -> None:
        """Wait until none of these fires any more."""
        assert set(alerts) <= self.fired
        for alert in alerts:
            await self._silence(alert, seconds)
            self.cleared.add(alert)

    async def _silence(self, alert: str, seconds: float) -> None:
        await until(lambda: self.prometheus.lacks(firing(alert)), seconds, f"{alert} not to fire")


Test = Callable[..., Awaitable[None]]


def sees(*alerts: str) -> Callable[[Callable[[World], Awaitable[None]]], Test]:
    """Make a test of what is done in a world: it must see each of these alerts fire, and clear."""
    SEEN.update(alerts)

    def make(do: Callable[[World], Awaitable[None]]) -> Test:
        async def test(settings: Settings, database: asyncpg.Connection, servers: Servers, tmp_path: Path) -> None:
            ports = {name: free_port() for name in PROCESSES}
            async with (
                mail_server() as mail,
                scraping(ports, tmp_path) as prometheus,
                contextlib.AsyncExitStack() as lives,
            ):
                smtp_url = SecretStr(f"smtp://{HOST}:{mail.port}")
                own = settings.model_copy(update={"smtp_url": smtp_url})
                world = World(own, database, servers, mail, prometheus, tmp_path, ports, lives, alerts)
                await do(world)
                assert world.cleared == set(alerts)

        test.__name__, test.__doc__ = do.__name__, do.__doc__
        return test

    return make
