"""The real commands, as processes of their own: nothing is shared with the test but the servers."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from subprocess import PIPE, CompletedProcess

from embedded.child import Child
from operations.up import environment
from schemas.settings import PREFIX, Settings
from tests.servers.session import LOGS
from tests.servers.wait import until

STOP_SECONDS = 10
SHOWN_LINES = 100


async def walletq(
    *args: str,
    settings: Settings,
    input: str | None = None,  # noqa: A002 - as subprocess.run calls it
    env: Mapping[str, str] | None = None,
    timeout: float = 60,  # noqa: ASYNC109 - as subprocess.run calls it
) -> CompletedProcess[str]:
    """Run `walletq ARGS…` to its end; any exit code is an answer.

    Args:
        args: the command and its arguments.
        settings: handed to it in its environment; it sees no other WALLETQ_… variable.
        input: what it reads from its standard input, which is empty otherwise.
        env: further variables, which win.
        timeout: seconds after which it is killed.

    Raises:
        TimeoutError: it was killed.
    """
    command = (sys.executable, "-m", "operations", *args)
    with tempfile.TemporaryDirectory(prefix="walletq-") as folder:  # no connection.env in it
        started = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environ(settings, env), cwd=folder
        )
        try:
            async with asyncio.timeout(timeout):
                output, errors = await started.communicate((input or "").encode())
        finally:
            if started.returncode is None:
                started.kill()
                await started.wait()
    assert started.returncode is not None
    return CompletedProcess(command, started.returncode, output.decode(), errors.decode())


class Process:
    """A command that runs on, such as `walletq allocate`."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._end_is_known = False

    @property
    def pid(self) -> int:
        """The process id."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._child.alive

    @property
    def peak_mb(self) -> float:
        """The most memory that it had at a time, as Linux tells it."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        [kib] = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
        return int(kib) * 1024 / 1e6

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._child.log.read_text(errors="replace")

    async def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self._end_is_known = True
        await self._child.kill()

    def terminate(self) -> None:
        """SIGTERM."""
        self._end_is_known = True
        self._send(signal.SIGTERM)

    def pause(self) -> None:
        """SIGSTOP: it holds what it holds, and does nothing."""
        self._send(signal.SIGSTOP)

    def unpause(self) -> None:
        """SIGCONT."""
        self._send(signal.SIGCONT)

    async def wait(self, timeout: float = 30) -> int:  # noqa: ASYNC109
        """Wait for its end; the exit code, negative for a signal."""
        self._end_is_known = True
        await until(lambda: not self.alive, timeout, f"{self._child.name} to end")
        code = self._child.returncode
        assert code is not None
        return code

    async def logged(self, text: str, timeout: float = 30) -> None:  # noqa: ASYNC109
        """Wait until it has written the text.

        Raises:
            AssertionError: it has not in that many seconds, or has ended before.
        """

        def found() -> bool:
            ended = not self.alive  # asked first: the last words count
            assert text in self.log or not ended, f"{self._child.name} ended before it logged {text!r}"
            return text in self.log

        await until(found, timeout, f"{self._child.name} to log {text!r}")

    async def end(self) -> None:
        """Stop it in good order where it still runs.

        Raises:
            AssertionError: it has ended by itself, and the test has not waited for that.
        """
        unexpected = not self.alive and not self._end_is_known
        if self.alive:
            self.unpause()
            await self._child.stop(STOP_SECONDS)
        assert not unexpected, f"{self._child.name} ended by itself with the exit code {self._child.returncode}"

    def _send(self, number: signal.Signals) -> None:
        if self.alive:
            os.kill(self.pid, number)


@contextlib.asynccontextmanager
async def process(
    command: str, settings: Settings, *args: str, env: Mapping[str, str] | None = None, errors: Path | None = None
) -> AsyncIterator[Process]:
    """Run `walletq COMMAND ARGS…` during the block. Where the block fails, the error shows the end of its log,
    and the file stays in the test session's temporary folder.

    Args:
        command: such as "allocate".
        settings: handed to it in its environment; it sees no other WALLETQ_… variable.
        args: further arguments.
        env: further variables, which win.
        errors: its standard error, where that is not to be the file; such as a pipe.

    Raises:
        AssertionError: it has ended by itself, and the test has not waited for that.
    """
    redirected = () if errors is None else ("sh", "-c", 'exec "$@" 2>"$0"', errors)
    folder = Path(tempfile.mkdtemp(prefix=f"{command}-", dir=os.environ.get(LOGS)))
    child = Child(
        f"walletq {command}",
        [*redirected, sys.executable, "-m", "operations", command, *args],
        log=folder / f"{command}.log",
        environ=environ(settings, env),
        folder=folder,  # no connection.env in it
    )
    started = Process(child)
    try:
        try:
            yield started
        finally:
            await started.end()
    except BaseException as error:
        error.add_note(f"--- the end of {child.log}\n{child.tail(SHOWN_LINES)}\n---")
        raise
    finally:
        await child.kill()
    shutil.rmtree(folder)


def environ(settings: Settings, env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Our environment with these settings instead of ours."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return inherited | environment(settings) | dict(env or {})
