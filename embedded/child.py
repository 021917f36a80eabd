"""A command as our child process: with a log file, in a session of its own, and dead when we are."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from embedded.errors import ServerStopped

LAUNCH = Path(__file__).with_name("launch.py")
POLL_SECONDS = 0.02
KILL_SECONDS = 6
TAIL_LINES = 20


class Child:
    """A process that we started. It runs from the moment of construction.

    The death signal is bound to the thread that constructs: let that be the main thread, or one that lives on.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        environ: Mapping[str, str] | None = None,
        folder: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        kill_signal: signal.Signals = signal.SIGKILL,
        user: str | None = None,
        reach: Collection[Path] = (),
        lock: int | None = None,
        watch_pipe: bool = sys.platform != "linux",
    ) -> None:
        """Start the command.

        Args:
            name: what to call it in messages.
            command: the program and its arguments.
            log: where its output is added.
            environ: its whole environment; ours where it is left out.
            folder: its working folder; ours where it is left out.
            stop_signal: asks it to stop in good order.
            kill_signal: ends it at once; also sent when we die.
            user: whom it runs as, where we are root.
            reach: paths which that user must be able to open.
            lock: a locked file descriptor, which the child and its own children then hold; it is closed here.
            watch_pipe: notice our death by a pipe instead of by Linux' death signal.
        """
        self.name = name
        self.log = log
        self._stop_signal = stop_signal
        self._kill_signal = kill_signal
        reading: int | None = None
        self._pipe: int | None = None
        if watch_pipe:
            reading, self._pipe = os.pipe()
        inherited = [descriptor for descriptor in (lock, reading) if descriptor is not None]
        launch = [sys.executable, "-I", "-S", str(LAUNCH)]
        launch += ["--parent", str(os.getpid()), "--signal", str(int(kill_signal))]
        if reading is not None:
            launch += ["--pipe", str(reading)]
        if user is not None:
            launch += ["--user", user, *(f"--reach={path}" for path in reach)]
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            with log.open("ab") as output:
                self._log_start = output.tell()
                self._process = subprocess.Popen(
                    [*launch, "--", *map(str, command)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=environ,
                    cwd=folder,
                    pass_fds=inherited,
                    start_new_session=True,  # Ctrl-C in a terminal reaches us alone: we decide who stops when
                )
        finally:
            for descriptor in inherited:
                os.close(descriptor)

    @property
    def pid(self) -> int:
        """The process id; of the command itself, not of the launcher."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.returncode is None

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        code = self._process.poll()
        if code is not None and self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None
        return code

    async def wait(self) -> int:
        """Wait for its end and return the exit code, negative for a signal."""
        while (code := self.returncode) is None:  # noqa: ASYNC110 - processes have no event everywhere
            await asyncio.sleep(POLL_SECONDS)
        return code

    async def stop(self, timeout: float = 5) -> int:  # noqa: ASYNC109 - the time until the second signal
        """Ask it to stop, kill it after `timeout` seconds, and return the exit code."""
        return await self._end(self._stop_signal, timeout)

    async def kill(self) -> int:
        """End it at once and return the exit code."""
        return await self._end(self._kill_signal, KILL_SECONDS)

    async def _end(self, number: signal.Signals, seconds: float) -> int:
        self._send(number)
        try:
            return await asyncio.wait_for(self.wait(), seconds)
        except TimeoutError:
            self._send(signal.SIGKILL)
            return await self.wait()

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The last lines that this run of it has written."""
        with self.log.open("rb") as output:
            output.seek(0, os.SEEK_END)
            output.seek(max(self._log_start, output.tell() - 64 * 1024))
            text = output.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def stopped(self, during: str = "has stopped", advice: str | None = None) -> ServerStopped:
        """The error which says that this child has ended: how, and with which last words."""
        code = self.returncode
        how = f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        return ServerStopped(
            f"{self.name} {during} ({how}); its last lines:", details=self.tail(), where=self.log, advice=advice
        )

    def _send(self, number: signal.Signals) -> None:
        if self.alive:
            self._process.send_signal(number)


async def first_to_end(children: Callable[[], Collection[Child]]) -> Child:
    """Wait until one of the children of that moment has ended, and return it."""
    while True:
        for child in children():
            if not child.alive:
                return child
        await asyncio.sleep(POLL_SECONDS)
