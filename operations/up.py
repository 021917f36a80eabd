"""`walletq up`: the servers that the settings do not name, the tables, the topics, and the consumers."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from embedded.child import Child, first_to_end
from embedded.errors import StackError
from embedded.stack import Servers, Stack
from schemas.settings import CONNECTION_FILE, PREFIX, Settings, SettingsError

WALLETQ = (sys.executable, "-m", "operations")
CONSUMERS = ("allocate", "mail", "clock")
CONSUMER_STOP_SECONDS = 4
CHILD_DIED = 3
HIGHEST_PORT = 65_535

Report = Callable[[str], None]


async def up(settings: Settings, folder: Path, *, servers_only: bool, report: Report) -> int:
    """Run until Ctrl-C or SIGTERM; the data stays.

    Args:
        settings: from the environment alone: a connection file that a kill -9 has left behind says nothing.
        folder: keeps data, logs and the connection file.
        servers_only: start no consumers.
        report: is told what happens, a line at a time.

    Returns:
        The exit code: 0 after Ctrl-C, 1 where the folder is in use, 3 where a server or a consumer has died.

    Raises:
        SettingsError: there is no HTTP port for each of the consumers.
    """
    last = 0 if servers_only or settings.http_port is None else settings.http_port + len(CONSUMERS) - 1
    if last > HIGHEST_PORT:
        raise SettingsError(
            f"WALLETQ_HTTP_PORT: each of the {len(CONSUMERS)} processes has a port, the last {last}; "
            f"expected at most {HIGHEST_PORT - len(CONSUMERS) + 1}"
        )
    try:
        code = await until_interrupted(_run(settings, folder, servers_only=servers_only, report=report))
    except StackError as error:
        report(str(error))
        return error.exit_code
    return 0 if code is None else code


async def _run(settings: Settings, folder: Path, *, servers_only: bool, report: Report) -> int:
    async with contextlib.AsyncExitStack() as exits:
        connected, stack = await exits.enter_async_context(_started(settings, folder, report))
        commands = () if servers_only else CONSUMERS
        consumers = await exits.enter_async_context(running_consumers(commands, connected, folder))
        started = "consumers and servers" if consumers else "servers"
        report(f"The {started} run; their logs are in {folder / 'logs'}. Ctrl-C stops them and keeps the data.")
        ended = await first_to_end(lambda: [*consumers, *stack.children])
        report(str(ended.stopped()))
    return CHILD_DIED


@contextlib.asynccontextmanager
async def _started(settings: Settings, folder: Path, report: Report) -> AsyncIterator[tuple[Settings, Stack]]:
    """The settings with every address filled in, and the servers behind them, for as long as the block runs.

    Servers that the settings do not name are started, the tables migrated, the topics created, and
    `connection.env` tells other commands of it until the end of the block.

    Raises:
        FolderInUse: another process runs the servers of this folder.
        StackError: a server cannot start.
    """
    from storage.migrations import migrate
    from storage.topics import create_topics

    # Entered even where it has nothing to start: it is what holds the folder's lock.
    stack = Stack(
        folder,
        kafka=settings.kafka_bootstrap_servers is None,
        postgres=settings.database_url is None,
        inbox=settings.smtp_url is None,
        report=report,
    )
    async with stack as servers:
        found = _found(servers)
        connected = settings.model_copy(update=found)
        await migrate(connected.need_database())
        await create_topics(connected)
        lines = environment(Settings.model_validate(found))
        path = folder / CONNECTION_FILE.name
        _write(path, lines)
        try:
            for name, value in lines.items():
                report(f"{name}={value}")
            if servers.inbox is not None:
                report(f"Mails arrive in {servers.inbox}")
            yield connected, stack
        finally:
            path.unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def running_consumers(commands: Sequence[str], settings: Settings, folder: Path) -> AsyncIterator[list[Child]]:
    """The commands as child processes, until the end of the block."""
    children: list[Child] = []
    try:
        for number, command in enumerate(commands):
            of_its_own = _with_port(settings, number)
            children.append(consumer([*WALLETQ, command], of_its_own, folder, command))
        yield children
    finally:
        await asyncio.gather(*(child.stop(CONSUMER_STOP_SECONDS) for child in children))


def _with_port(settings: Settings, number: int) -> Settings:
    """The settings of one of several processes on this machine: each has an HTTP port of its own, one after another."""
    port = settings.http_port
    return settings if port is None else settings.model_copy(update={"http_port": port + number})


def consumer(command: Sequence[str], settings: Settings, folder: Path, name: str) -> Child:
    """Start a command as a child process.

    Args:
        command: the whole command line, such as `[*WALLETQ, "allocate"]`.
        settings: handed to it in its environment.
        folder: its log goes to `logs/NAME.log` below it.
        name: what to call it.
    """
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
    return Child(
        name,
        command,
        log=folder / "logs" / f"{name}.log",
        environ=inherited | environment(settings),
    )


def environment(settings: Settings) -> dict[str, str]:
    """The settings as the variables that `read_settings` makes the same settings of."""
    given = settings.model_dump(exclude_defaults=True)
    return {
        PREFIX + name.upper(): value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in given.items()
    }


async def until_interrupted(work: Coroutine[Any, Any, int]) -> int | None:
    """Do the work to its end; or end it in good order at Ctrl-C, SIGTERM or a closed terminal, and return None."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        if not interrupted:  # a second Ctrl-C must not cut the stop short: it is bounded
            interrupted = True
            task.cancel()

    for number in numbers:
        loop.add_signal_handler(number, interrupt)
    try:
        return await task
    except asyncio.CancelledError:
        if not interrupted:
            raise
        return None
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _found(servers: Servers) -> dict[str, Any]:
    """Where the servers are, as fields of the settings."""
    found = {
        "kafka_bootstrap_servers": servers.kafka_bootstrap_servers,
        "database_url": SecretStr(servers.database_url) if servers.database_url else None,
        "smtp_url": SecretStr(servers.smtp_url) if servers.smtp_url else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _write(path: Path, lines: dict[str, str]) -> None:
    """Write the connection file at once: readers see all of it or nothing."""
    new = path.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w") as file:
        file.writelines(f"{name}={value}\n" for name, value in lines.items())
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
