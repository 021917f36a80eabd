"""Shows the status once, or again and again until Ctrl-C."""

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import asyncpg

from operations.database import connect_operator, operator_session
from operations.kafka_log import KafkaLog, open_log
from operations.status.facts import Status, read_status
from operations.status.tables import as_document, grids
from operations.terminal import print_grids, print_json
from schemas.catalogue import Catalogue, read_catalogue
from schemas.settings import Settings
from storage.database import AWAY
from storage.database import unreachable as database_unreachable
from storage.errors import ServerUnreachable
from storage.waiting import first_of


async def show_status(settings: Settings, *, watch: float | None, as_json: bool) -> int:
    """Print the status once, or every `watch` seconds until Ctrl-C. Returns the exit code."""
    catalogue = read_catalogue(settings.catalogue)
    async with operator_session(settings, "status") as connection, open_log(settings) as log:
        if watch is None:
            _print(await read_status(settings, catalogue, connection, log), as_json=as_json)
        else:
            await _watch(Looks(settings, catalogue, connection, log), watch, as_json=as_json)
    return 0


async def _watch(looks: "Looks", seconds: float, *, as_json: bool) -> None:
    stop = _stopped_by_signals()
    with closing(looks), _shown(as_json=as_json) as show:
        while not stop.is_set():
            show(*await looks.take())
            await first_of(stop, seconds)


class Looks:
    """Looks at the status again and again, on a new connection where the last one was lost."""

    def __init__(self, settings: Settings, catalogue: Catalogue, connection: asyncpg.Connection, log: KafkaLog) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._connection = connection
        self._log = log

    async def take(self) -> tuple[Status | None, str | None]:
        """The status, or why there is none: one watches because something is wrong, and the view outlasts it."""
        try:
            if self._connection.is_closed():
                self._connection = await connect_operator(self._settings, "status")
            status = await read_status(self._settings, self._catalogue, self._connection, self._log, without_kafka=True)
        except ServerUnreachable as error:
            self.close()
            return None, str(error)
        except AWAY as error:
            self.close()
            return None, str(database_unreachable(self._settings.need_database(), error))
        return status, None

    def close(self) -> None:
        """Drop the connection."""
        self._connection.terminate()


def _stopped_by_signals() -> asyncio.Event:
    """Set by Ctrl-C or SIGTERM. A cancellation in their place could be swallowed by a driver, and the view go on."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def _print(status: Status, *, as_json: bool) -> None:
    if as_json:
        print_json(as_document(status))
    else:
        print_grids(grids(status))


@contextmanager
def _shown(*, as_json: bool) -> Iterator[Callable[[Status | None, str | None], None]]:
    """What shows one status after another, or why there is none: in place on a terminal, else one below the other."""
    if as_json or not sys.stdout.isatty():

        def tell(status: Status | None, problem: str | None) -> None:
            if status is None:
                print(problem, file=sys.stderr)
            else:
                _print(status, as_json=as_json)

        yield tell
        return
    from rich.live import Live

    from operations.status.screen import view

    last: Status | None = None

    def draw(status: Status | None, problem: str | None) -> None:
        nonlocal last
        last = status or last
        live.update(view(last, live.console.width, problem), refresh=True)

    with Live(screen=True, auto_refresh=False) as live:
        yield draw
