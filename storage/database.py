"""Connections to PostgreSQL."""

import asyncio
import inspect
import ssl
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

import asyncpg

from schemas.settings import SettingsError
from storage.errors import ServerUnreachable

Role = Literal["walletq_allocator", "walletq_mailer", "walletq_operator"]

# A stopped owner must not hold locks for longer than Kafka takes to give its partitions to another.
IDLE_IN_TRANSACTION_MS = 5_000
CONNECT_SECONDS = 5.0

# The hot statements look few rows up by index. A table that has just been filled has no statistics yet, and a plan
# that takes it for empty would scan it whole, batch after batch.
BY_INDEX = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_bitmapscan": "off",
    "enable_material": "off",
    "enable_memoize": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}
"Parameters of a session whose plans are nested loops by index, whatever the statistics say."

REFUSED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
"SQLSTATE classes 22 and 23: the record itself is what the database does not take. Look for these first."
AWAY = (OSError, asyncio.TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"Everything else: the database is away, and to be tried again."


def check_url(url: str) -> None:
    """Whether asyncpg takes a URL, with the files that it names; asyncpg itself looks when it connects.

    Raises:
        SettingsError: it does not; names WALLETQ_DATABASE_URL and what is wrong, never the password.
    """
    problem = _problem_of(url)
    if problem is not None:
        raise SettingsError(f"WALLETQ_DATABASE_URL: {problem}")


def _problem_of(url: str) -> str | None:
    from asyncpg.connect_utils import _parse_connect_dsn_and_args

    # For asyncpg a password ends at the first @, for everybody else at the last.
    if urlsplit(url).netloc.count("@") > 1:
        return "an @ in a user or a password is written %40"
    arguments = dict.fromkeys(inspect.signature(_parse_connect_dsn_and_args).parameters) | {"dsn": url}
    try:
        places, _ = _parse_connect_dsn_and_args(**arguments)
    except asyncpg.exceptions.ClientConfigurationError as error:
        return str(error).splitlines()[0]
    except ssl.SSLError as error:
        why = error.reason or "expected PEM, and sslpassword where the key has one"
        return f"certificates or a key that it names cannot be used: {why}"
    except OSError as error:
        return f"a file that it needs cannot be read: {error.strerror}"
    except (ValueError, LookupError):  # they may tell a part of it
        return "expected a URL such as postgresql://user:password@host:5432/walletq?sslmode=require"
    ports = [place[1] for place in places if not isinstance(place, str)]  # else it is a socket's path
    return None if all(0 < port < 65_536 for port in ports) else "expected a port from 1 to 65535"


async def connect(
    url: str,
    role: Role | None = None,
    *,
    application: str = "walletq",
    parameters: Mapping[str, str] | None = None,
    command_seconds: float | None = None,
) -> asyncpg.Connection:
    """One connection, with the session settings that walletq relies on.

    Args:
        url: postgresql://…
        role: one of walletq's roles; the session drops to it where its user may.
        application: the name that pg_stat_activity shows.
        parameters: further parameters of the session.
        command_seconds: the longest that one statement may take; asyncio.TimeoutError beyond it.

    Raises:
        ServerUnreachable: names the host and WALLETQ_DATABASE_URL; never the password.
    """
    try:
        connection = await asyncpg.connect(
            url,
            timeout=CONNECT_SECONDS,
            command_timeout=command_seconds,
            server_settings=_session(application) | dict(parameters or {}),
        )
        await _take_role(connection, role)
    except (*AWAY, ValueError) as error:
        raise unreachable(url, error) from error
    return connection


async def create_pool(
    url: str,
    role: Role | None = None,
    *,
    size: int,
    application: str,
    parameters: Mapping[str, str] | None = None,
) -> asyncpg.Pool:
    """A pool of such connections, opened as they are needed.

    Raises:
        ServerUnreachable: as `connect`.
    """

    async def prepare(connection: asyncpg.Connection) -> None:
        await _take_role(connection, role)

    try:
        return await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=size,
            timeout=CONNECT_SECONDS,
            init=prepare,
            reset=_keep,
            server_settings=_session(application) | dict(parameters or {}),
        )
    except (*AWAY, ValueError) as error:
        raise unreachable(url, error) from error


async def _keep(_connection: asyncpg.Connection) -> None:
    """Nothing of ours outlives its transaction in a session: asyncpg's own reset would be a round trip for nothing."""


def unreachable(url: str, error: BaseException) -> ServerUnreachable:
    """`error` as one that names the server and the setting, without the password."""
    parts = urlsplit(url)
    hosts = parts.netloc.rpartition("@")[2]
    where = (hosts if "," in hosts else f"{parts.hostname or 'localhost'}:{parts.port or 5432}") + parts.path
    reason = "it does not answer" if isinstance(error, asyncio.TimeoutError) else str(error) or type(error).__name__
    return ServerUnreachable("PostgreSQL", where, "WALLETQ_DATABASE_URL", reason.splitlines()[0].rstrip("."))


def _session(application: str) -> dict[str, str]:
    return {
        "application_name": application,
        "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_MS),
        "timezone": "UTC",
        "default_transaction_isolation": "read committed",
    }


async def _take_role(connection: asyncpg.Connection, role: Role | None) -> None:
    """Drop to the role's privileges where the session's user is a member of it, or a superuser."""
    if role is not None:
        await connection.execute(
            "SELECT set_config('role', $1, false) FROM pg_roles"
            " WHERE rolname = $1 AND pg_has_role(session_user, rolname, 'SET')",
            role,
        )
