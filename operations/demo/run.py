"""The course of the demo: servers and consumers start, the acts are played, all is checked, everything stops."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
from pydantic import SecretStr

from embedded.child import Child, first_to_end
from embedded.stack import Servers, Stack
from operations.demo.acts import Stage, play
from operations.demo.folder import keep_events, mail_to
from operations.demo.look import SQL, Watch
from operations.demo.plan import Plan, make_plan
from operations.demo.telling import Story, framed, how_to_go_on, indented, make_story, what_happened
from operations.demo.views import View
from operations.logs import configure_logs
from operations.process import servers_named
from operations.up import CONSUMER_STOP_SECONDS, WALLETQ, Report, consumer
from schemas.catalogue import read_catalogue
from schemas.settings import Settings
from storage.database import connect
from storage.migrations import migrate
from storage.topics import create_topics

CONSUMERS = {"allocator-1": "allocate", "allocator-2": "allocate", "mailer": "mail", "clock": "clock"}
VERIFY = ("verify", "--wait", "20")

Result = TypeVar("Result")


class Failed(Exception):
    """The demo came to its end, but did not show what it should."""


async def run(folder: Path, view: View, report: Report) -> None:
    """Run the demo in its folder, which is empty.

    Raises:
        StackError: a server or a consumer could not start, or has ended.
        WalletqError: a server does not do what it should.
        Failed: an invariant does not hold, or there is no mail to show.
    """
    catalogue = read_catalogue()
    planning = asyncio.create_task(asyncio.to_thread(make_plan, catalogue))  # while the servers start
    view.tell(f"Starting Kafka, PostgreSQL and an inbox in {folder}, without an earlier demo's data")
    async with AsyncExitStack() as exits:
        exits.enter_context(_logs_in(folder))
        stack = Stack(folder, report=report)
        servers = await exits.enter_async_context(stack)
        settings = _settings(servers)
        exits.enter_context(servers_named(settings))
        await migrate(settings.need_database())
        await create_topics(settings)
        plan = await planning
        keep_events(folder / "events.jsonl", plan, datetime.now(UTC))
        view.tell("Starting two allocators, a mailer and the clock, each a process of its own")
        consumers = await exits.enter_async_context(_consumers(settings, folder))
        showing = _show(settings, folder, plan, catalogue.pools(), view, report)
        story = await _while_all_live(showing, lambda: [*consumers, *stack.children])
        view.tell("Stopping everything")
    report("\n" + what_happened(story, view.seconds()))
    report("\n" + how_to_go_on(folder))


async def _show(
    settings: Settings, folder: Path, plan: Plan, pools: list[tuple[str, str]], view: View, report: Report
) -> Story:
    """What there is to see."""
    async with _connected(settings) as connection:
        async with _connected(settings) as watching:
            watch = Watch(watching, pools, view.show)
            stage = Stage(settings, plan, connection, watch, view.tell, lambda: datetime.now(UTC))
            with view:
                await _beside(watch.run(), play(stage))
        view.tell("Every order has ended, and every wallet is free again. A mail, as its customer sees it:")
        report(await _mail(connection, folder / "inbox"))
        view.tell(f"walletq {' '.join(VERIFY)}")
        report(indented(await _verified(settings, folder)))
        return await _story(connection, plan)


async def _mail(connection: asyncpg.Connection, inbox: Path) -> str:
    customer = await connection.fetchrow(SQL["served_customer"])
    mail = await asyncio.to_thread(mail_to, inbox, customer["email"]) if customer else None
    if mail is None:
        raise Failed(f"There is no mail to show in {inbox}.")
    return framed(mail)


async def _verified(settings: Settings, folder: Path) -> str:
    """What `walletq verify` says."""
    child = consumer([*WALLETQ, *VERIFY], settings, folder, "verify")
    try:
        code = await child.wait()
    finally:
        await child.kill()
    said = child.log.read_text(errors="replace")
    if code != 0:
        raise Failed(f"walletq verify has the exit code {code}:\n{said}")
    return said


async def _story(connection: asyncpg.Connection, plan: Plan) -> Story:
    totals = await connection.fetchrow(SQL["totals"])
    story = await connection.fetchrow(SQL["story"])
    queue = await connection.fetchrow(SQL["longest_queue"])
    return make_story(len(plan.wallets), totals["dead_letters"], story, queue)


def _settings(servers: Servers) -> Settings:
    return Settings(
        kafka_bootstrap_servers=servers.kafka_bootstrap_servers,
        database_url=SecretStr(servers.database_url or ""),
        smtp_url=SecretStr(servers.smtp_url or ""),
        mail_from="Example Exchange <deposits@exchange.example>",
        company_name="Example Exchange",
        clock_interval_seconds=0.5,
    )


@asynccontextmanager
async def _consumers(settings: Settings, folder: Path) -> AsyncIterator[list[Child]]:
    children: list[Child] = []
    try:
        for name, command in CONSUMERS.items():
            children.append(consumer([*WALLETQ, command], settings, folder, name))
        yield children
    finally:
        await asyncio.gather(*(child.stop(CONSUMER_STOP_SECONDS) for child in children))


@asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(settings.need_database(), "walletq_operator", application="walletq demo")
    try:
        yield connection
    finally:
        connection.terminate()


@contextmanager
def _logs_in(folder: Path) -> Iterator[None]:
    """Our own log lines go to a file: on the screen they would be in the way."""
    path = folder / "logs" / "demo.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        configure_logs("info", stream=stream)
        try:
            yield
        finally:
            configure_logs("error")


async def _beside(watching: Coroutine[Any, Any, None], work: Coroutine[Any, Any, Result]) -> Result:
    """The work's result, while the other runs; an error of either ends both."""
    looking, working = asyncio.create_task(watching), asyncio.create_task(work)
    try:
        await asyncio.wait({looking, working}, return_when=asyncio.FIRST_COMPLETED)
        if looking.done():
            looking.result()
        return working.result()
    finally:
        looking.cancel()
        working.cancel()
        await asyncio.gather(looking, working, return_exceptions=True)


async def _while_all_live(work: Coroutine[Any, Any, Result], children: Callable[[], Collection[Child]]) -> Result:
    """The work's result, or the error which says that a child has ended: whatever else failed then came of that."""

    async def death() -> None:
        raise (await first_to_end(children)).stopped()

    try:
        return await _beside(death(), work)
    except Exception:
        for child in children():
            if not child.alive:
                raise child.stopped() from None
        raise
