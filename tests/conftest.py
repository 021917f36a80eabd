"""Fixtures: real servers for the session; a database, topics and an inbox of its own for each test.

Nothing starts before a test asks for it: unit tests run without servers.
"""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
from pydantic import SecretStr

from schemas.settings import Settings
from schemas.topics import topics
from storage.database import connect
from storage.kafka import admin_client
from storage.topics import create_topics
from tests.faults.report import COUNTED, PROPERTY, table
from tests.servers import choice, session
from tests.servers.databases import Databases
from tests.servers.embedded import run_alone
from tests.servers.inbox import Inbox
from tests.servers.servers import Servers


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers that only some machines can run."""
    config.addinivalue_line("markers", "containers: needs a Docker engine with compose and the images")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetch what the servers need before the first test, whose timeout would cut a slow download."""
    if session.config.option.collectonly:
        return
    if any("servers" in getattr(item, "fixturenames", ()) for item in session.items):
        terminal = session.config.pluginmanager.get_plugin("terminalreporter")
        choice.prepare(choice.choose(os.environ), terminal.write_line if terminal else print)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How long the faults of this session took to recover from, and what became of the mails."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    if lines := table(tuple(value) for one in reports for name, value in one.user_properties if name == PROPERTY):
        terminalreporter.section("recovery from faults")
        terminalreporter.write_line("\n".join(lines))
    if lines := [str(value) for one in reports for name, value in one.user_properties if name == COUNTED]:
        terminalreporter.section("mails through a bad server and killed mailers")
        terminalreporter.write_line("\n".join(lines))


@pytest.fixture(scope="session", autouse=True)
def _no_process_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An error at the end of the session where a process that it started is still there."""
    marked = session.mark(tmp_path_factory.mktemp("processes"))
    yield
    if left := session.end_left_processes(marked):
        pytest.fail("processes were left behind, and are killed now:\n" + "\n".join(left), pytrace=False)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The servers of the session; `kill`, `start`, `pause` and `unpause` are for fault tests."""
    with choice.running(choice.choose(os.environ), tmp_path_factory.mktemp("servers"), os.environ) as running:
        yield running


@pytest.fixture(scope="session")
def databases(servers: Servers) -> Iterator[Databases]:
    """Makes databases cloned from the migrated template of this session."""
    databases = Databases(servers.database_admin_url)
    yield databases
    run_alone(databases.close())


@pytest.fixture
async def settings(servers: Servers, databases: Databases) -> AsyncIterator[Settings]:
    """Complete settings with a database, four topics and a sender's address that no other test has."""
    name = f"t{uuid.uuid4().hex[:12]}"
    settings = Settings(
        kafka_bootstrap_servers=servers.kafka_bootstrap_servers,
        smtp_url=SecretStr(servers.smtp_url),
        mail_from=f"walletq <{name}@walletq.example>",
        topic_prefix=f"{name}-",
        session_timeout_ms=6_000,
        clock_interval_seconds=0.2,
    )
    database_url, _ = await asyncio.gather(databases.create(), create_topics(settings))
    try:
        yield settings.model_copy(update={"database_url": SecretStr(database_url)})
    finally:
        await servers.restore()
        await _delete_topics(settings)
        await databases.drop(database_url)


async def _delete_topics(settings: Settings) -> None:
    """A broker with the partitions of hundreds of tests would be a slow one."""
    async with admin_client(settings) as admin:
        await admin.delete_topics([topic.name for topic in topics(settings)])


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's connection to the test's database."""
    connection = await connect(settings.need_database(), application="walletq test")
    try:
        yield connection
    finally:
        connection.terminate()  # the test may have killed or frozen the server


@pytest.fixture
def inbox(servers: Servers, settings: Settings) -> Inbox:
    """The mails of this test: those from `settings.mail_from`."""
    if servers.mails is None:
        pytest.skip("nobody can read the external mail server: set WALLETQ_TEST_MAILPIT_URL")
    return Inbox(servers.mails, settings.mail_from)
