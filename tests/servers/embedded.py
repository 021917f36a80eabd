"""Servers as child processes of the test session."""

import asyncio
import contextlib
import shutil
import signal
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil

from embedded.jars import kafka_jars
from embedded.stack import Stack
from tests.servers.inbox import MailFolder
from tests.servers.servers import Name, Report, Servers

Result = TypeVar("Result")


def prepare(report: Report) -> None:
    """Fetch Kafka where it is not in the cache yet."""
    run_alone(kafka_jars(report))


@contextlib.contextmanager
def embedded_servers(folder: Path) -> Iterator[Servers]:
    """The servers of a stack in the folder, of which only the logs stay.

    Enter it in the main thread: the death of the thread that started them is the end of the children.
    """
    problems: list[str] = []
    stack = Stack(folder, kafka_proxy=True, report=problems.append)
    started = run_alone(stack.__aenter__())
    assert started.kafka_bootstrap_servers
    assert started.database_url
    assert started.smtp_url
    assert started.inbox
    try:
        yield Servers(
            kafka_bootstrap_servers=started.kafka_bootstrap_servers,
            database_admin_url=started.database_url.rsplit("/", 1)[0] + "/postgres",
            smtp_url=started.smtp_url,
            mails=MailFolder(started.inbox),
            control=StackControl(stack),
            kafka_proxied=started.kafka_proxied,
        )
    finally:
        run_alone(stack.__aexit__(*sys.exc_info()))
        for path in folder.iterdir():
            if path.is_dir() and path.name != "logs":
                shutil.rmtree(path, ignore_errors=True)


class StackControl:
    """Faults for the servers of a stack."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    async def kill(self, name: Name) -> None:
        """See Control."""
        await self._stack.kill(name)

    async def start(self, name: Name) -> None:
        """See Control."""
        await self._stack.start(name)

    async def pause(self, name: Name) -> None:
        """See Control."""
        self._signal(name, signal.SIGSTOP)

    async def unpause(self, name: Name) -> None:
        """See Control."""
        self._signal(name, signal.SIGCONT)

    def _signal(self, name: Name, number: signal.Signals) -> None:
        """PostgreSQL's processes are in sessions of their own, so each gets the signal, the parent first."""
        parent = psutil.Process(self._stack.pid(name))
        parent.send_signal(number)
        for child in parent.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.send_signal(number)


def run_alone(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine in this thread, in a loop of its own: the tests' loops live as long as one test each.

    Ctrl-C cancels it first, so that it can stop what it has started.
    """
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(work)
