"""Shows the status once, or again and again until Ctrl-C."""

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from operations.database import connect_operator
from operations.kafka_log import open_log
from operations.status.facts import Status, read_status
from operations.status.tables import as_document, grids
from operations.terminal import print_grids, print_json
from schemas.catalogue import read_catalogue
from schemas.settings import Settings
from storage.database import AWAY
from storage.database import unreachable as database_unreachable
from storage.errors import ServerUnreachable
from storage.migrations import check_migrated


async def show_status(settings: Settings, *, watch: float | None, as_json: bool) -> int:
    """Print the status once, or every `watch` seconds until Ctrl-C. Returns the exit code."""
    catalogue = read_catalogue(settings.catalogue)
    connection = await connect_operator(settings, "status")
    try:
        await check_migrated(connection)
        async with open_log(settings) as log:
            if watch is None:
                _print(await read_status(settings, catalogue, connection, log), as_json=as_json)
            else:
                stop = _stopped_by_signals()
                with _shown(as_json=as_json) as show:
                    while not stop.is_set():
                        try:
                            if connection.is_closed():
                                connection = await connect_operator(settings, "status")
                            show(await read_status(settings, catalogue, connection, log, without_kafka=True), None)
                        except (ServerUnreachable, *AWAY) as error:
                            # The operator watches because something is wrong: the view is there when it is over.
                            connection.terminate()
                            away = isinstance(error, ServerUnreachable)
                            show(None, str(error if away else database_unreachable(settings.need_database(), error)))
                        with suppress(asyncio.TimeoutError):
                            await asyncio.wait_for(stop.wait(), watch)
    finally:
        connection.terminate()
    return 0


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
