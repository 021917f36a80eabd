"""The numbered migrations, and what applies them."""

import hashlib
from collections.abc import Iterator
from importlib.resources import files

import asyncpg

from storage.database import connect
from storage.errors import MigrationChanged, NotMigrated

# Any number will do, as long as everybody who migrates a walletq database takes the same one.
_LOCK = 0x77616C6C_65747130


async def migrate(url: str) -> list[str]:
    """Apply the migrations that the database lacks, all in one transaction.

    Safe when two start at once: the second waits, then finds nothing to do.

    Returns:
        the names that were applied, in order.

    Raises:
        ServerUnreachable: the database does not answer.
        MigrationChanged: one that is applied has another content now.
    """
    connection = await connect(url, application="walletq migrate")
    try:
        async with connection.transaction():
            # A migration may wait for its turn for long; it is not an idle transaction of a stopped owner.
            await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS schema_migrations ("
                " name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
            )
            applied = await _applied(connection)
            added = []
            for name, text in _migrations():
                if name not in applied:
                    await connection.execute(text)
                    await connection.execute(
                        "INSERT INTO schema_migrations (name, sha256) VALUES ($1, $2)", name, _digest(text)
                    )
                    added.append(name)
                elif applied[name] != _digest(text):
                    raise MigrationChanged(name)
            return added
    finally:
        await connection.close()


async def check_migrated(connection: asyncpg.Connection) -> None:
    """Raises NotMigrated where the database lacks a migration of this version."""
    try:
        applied = await _applied(connection)
    except asyncpg.UndefinedTableError:
        applied = {}
    missing = [name for name, _ in _migrations() if name not in applied]
    if missing:
        raise NotMigrated(missing)


async def _applied(connection: asyncpg.Connection) -> dict[str, str]:
    rows = await connection.fetch("SELECT name, sha256 FROM schema_migrations")
    return {row["name"]: row["sha256"] for row in rows}


def _migrations() -> Iterator[tuple[str, str]]:
    folder = files("storage").joinpath("migrations")
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".sql"):
            yield file.name.removesuffix(".sql"), file.read_text()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
