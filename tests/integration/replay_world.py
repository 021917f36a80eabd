"""What the tests of `walletq replay` look at: a replay and what it came to, databases, catalogues."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import asyncpg
from pydantic import SecretStr

from operations.kafka_log import open_log
from operations.replay.audit import Audit, audit, catch_up
from operations.replay.replaying import Replay, Scope
from operations.replay.state import replayed_state
from operations.verify.snapshot import take_snapshot
from schemas.settings import Settings
from schemas.topics import names
from storage.database import connect
from tests.servers.databases import Databases

TABLES = ("catalogues", "orders", "wallets", "assignments", "dead_letters")


def told(found: Audit) -> dict[str, list[str]]:
    return {
        compared.table.name: [difference.as_text() for difference in compared.differences]
        for compared in found.tables
        if not compared.agrees
    }


@asynccontextmanager
async def replaying(settings: Settings, scope: Scope | None = None) -> AsyncIterator[Replay]:
    async with open_log(settings) as log:
        with replayed_state() as state:
            yield Replay(names(settings).orders, log, state, scope=scope or Scope())


async def audited(settings: Settings, scope: Scope | None = None) -> Audit:
    async with replaying(settings, scope) as replay:
        await catch_up(settings, replay)
        async with take_snapshot(settings) as snapshot:
            return await audit(replay, snapshot.connection)


async def audit_in_a_transaction(replay: Replay, database: asyncpg.Connection) -> Audit:
    async with database.transaction():
        return await audit(replay, database)


@asynccontextmanager
async def looking(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    database = await connect(settings.need_database())
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def empty(settings: Settings, databases: Databases) -> AsyncIterator[Settings]:
    """The same topics with an empty database."""
    url = await databases.create()
    try:
        yield settings.model_copy(update={"database_url": SecretStr(url)})
    finally:
        await databases.drop(url)


async def content(settings: Settings) -> dict[str, list[Any]]:
    """Every row of the allocator's tables."""
    async with looking(settings) as database:
        found = {table: await database.fetch(f"SELECT * FROM {table} t ORDER BY t::text") for table in TABLES}
        found["partitions"] = await database.fetch(
            "SELECT * FROM partitions WHERE topic = $1 ORDER BY partition", names(settings).orders
        )
        return found


async def on_topic(settings: Settings) -> int:
    """How many notifications were ever published."""
    async with open_log(settings) as log:
        return sum((await log.ends(names(settings).notifications)).values())


def under(settings: Settings, folder: Path, *replaced: tuple[str, str]) -> Settings:
    """With another catalogue: the shipped one, in whose text this is replaced by that."""
    text = files("schemas").joinpath("catalogue.toml").read_text()
    for this, that in replaced:
        assert this in text
        text = text.replace(this, that)
    (folder / "catalogue.toml").write_text(text)
    return settings.model_copy(update={"catalogue": folder / "catalogue.toml"})
