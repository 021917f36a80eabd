"""The inbox as a server of the stack."""

import asyncio
import sys
from pathlib import Path

import embedded
from embedded.child import Child
from embedded.locks import earlier_life_over
from embedded.ports import HOST, Ports
from embedded.readiness import until_serving


class InboxServer:
    """The inbox of one folder."""

    name = "inbox"
    stop_seconds = 2.0

    def __init__(self, folder: Path, logs: Path, ports: Ports) -> None:
        self.mails = folder
        self._log = logs / "inbox.log"
        self._locks = folder.parent
        self._ports = ports
        self._port: int | None = None

    @property
    def url(self) -> str:
        """Where mail goes."""
        return f"smtp://{HOST}:{self._port}"

    async def start(self) -> Child:
        """Start it and wait until it greets."""
        self.mails.mkdir(parents=True, exist_ok=True)
        lock = await earlier_life_over(self._locks, self.name)
        if self._port is None:
            self._port = self._ports.take("inbox")
        child = Child(
            self.name,
            [sys.executable, "-m", "embedded.inbox", "--port", str(self._port), "--folder", self.mails],
            log=self._log,
            lock=lock,
            folder=Path(embedded.__file__).parent.parent,  # where the import of `embedded` finds this one
        )
        return await until_serving(child, self._greets)

    async def _greets(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection(HOST, self._port)
        except OSError:
            return False
        try:
            return (await reader.readline()).startswith(b"220")
        except OSError:
            return False
        finally:
            writer.close()
