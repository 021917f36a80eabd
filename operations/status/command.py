"""Shows the status once, or again and again until Ctrl-C."""

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from operations.kafka_log import open_log
from operations.process import COMMAND_SECONDS
from operations.status.facts import Status, read_status
from operations.status.tables import as_document, grids
from operations.terminal import print_grids, print_json
from schemas.catalogue import read_catalogue
from schemas.settings import Settings
from storage.database import connect
from storage.migrations import check_migrated


async def show_status(settings: Settings, *, watch: float | None, as_json: bool) -> int:
    """Print the status once, or every `watch` seconds until Ctrl-C. Returns the exit code."""
    catalogue = read_catalogue(settings.catalogue)
    connection = await connect(
        settings.need_database(), "walletq_operator", application="walletq status", command_seconds=COMMAND_SECONDS
    )
    try:
        await check_migrated(connection)
        async with open_log(settings) as log:
            if watch is None:
                _print(await read_status(settings, catalogue, connection, log), as_json=as_json)
            else:
                stop = _stopped_by_signals()
                with _shown(as_json=as_json) as show:
                    while not stop.is_set():
                        show(await read_status(settings, catalogue, connection, log, without_kafka=True))
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
def _shown(*, as_json: bool) -> Iterator[Callable[[Status], None]]:
    """What shows one status after another: in place on a terminal, else one below the other."""
    if as_json or not sys.stdout.isatty():
        yield lambda status: _print(status, as_json=as_json)
        return
    from rich.live import Live

    from operations.status.screen import view

    with Live(screen=True, auto_refresh=False) as live:
        yield lambda status: live.update(view(status, live.console.width), refresh=True)
