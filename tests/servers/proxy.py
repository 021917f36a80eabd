"""A TCP proxy whose connections can be cut, refused, delayed, and left without an answer."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from embedded.ports import HOST

CHUNK = 64 * 1024


@dataclass(eq=False)
class Link:
    """One client's connection, and ours to the server on its behalf."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter

    def cut(self) -> None:
        """Reset both; what is under way is lost."""
        for writer in (self.client, self.server):
            writer.transport.abort()


@dataclass
class Proxy:
    """Listens on loopback for one server. Made by `proxying`."""

    target: tuple[str, int]
    port: int = 0
    host: str = HOST
    delay: float = 0.0
    "Seconds that every chunk is held up, in either direction."
    links: set[Link] = field(default_factory=set)
    _flows: asyncio.Event = field(default_factory=asyncio.Event)
    _listening: asyncio.Server | None = None
    _serving: set["asyncio.Task[None]"] = field(default_factory=set)

    @property
    def address(self) -> str:
        """host:port, for clients."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def cut(self) -> None:
        """Reset every connection; new ones are taken."""
        for link in list(self.links):
            link.cut()

    async def listen(self) -> None:
        """Take new connections."""
        if self._listening is None:
            self._flows.set()
            self._listening = await asyncio.start_server(self._serve, self.host, self.port)
            self.port = self._listening.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Reset every connection, and take no new one until `listen`."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        self.cut()

    def swallow(self) -> None:
        """Take connections and bytes, and let nothing through until `flow`."""
        self._flows.clear()

    def flow(self) -> None:
        """Let through what was swallowed, and everything from now on."""
        self._flows.set()

    def client_port(self, our_port: int) -> int | None:
        """The client's port of the connection that the server sees coming from `our_port`."""
        for link in self.links:
            if link.server.get_extra_info("sockname")[1] == our_port:
                return int(link.client.get_extra_info("peername")[1])
        return None

    async def close(self) -> None:
        """Stop, and reset every connection."""
        self.refuse()
        for task in list(self._serving):
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    async def _serve(self, from_client: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            await self._join(from_client, client)
        except (OSError, asyncio.CancelledError):
            client.transport.abort()  # the server is away, or we are at our end
        finally:
            self._serving.discard(task)

    async def _join(self, from_client: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        from_server, server = await asyncio.open_connection(*self.target)
        link = Link(client, server)
        self.links.add(link)
        pumps = [
            asyncio.ensure_future(self._pump(from_client, server)),
            asyncio.ensure_future(self._pump(from_server, client)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.wait(pumps)
            self.links.discard(link)
            for writer in (client, server):
                writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):  # a reset is an end as good as any
            while chunk := await reader.read(CHUNK):
                if self.delay:
                    await asyncio.sleep(self.delay)
                await self._flows.wait()
                writer.write(chunk)
                await writer.drain()


@contextlib.asynccontextmanager
async def proxying(target: tuple[str, int], port: int = 0, host: str = HOST) -> AsyncIterator[Proxy]:
    """A proxy at work, on this port or on one of its own."""
    proxy = Proxy(target, port, host)
    await proxy.listen()
    try:
        yield proxy
    finally:
        await proxy.close()
