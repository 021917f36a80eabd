"""A mail server that accepts everything at once, forgets it, and notes when each recipient's mail was there."""

import asyncio
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import cast

import uvloop

from benchmarks.delays import Arrival
from benchmarks.worker import Board, orphaned
from embedded.ports import HOST

LOOK_SECONDS = 0.02
BACKLOG = 1024
DOT = b"\r\n.\r\n"


def accept_mails(connection: Connection, board: Board) -> None:
    """Listen on loopback until told to end; see `worker.Work`.

    It says its port when it listens. The board counts the mails; the last word is the list of their arrivals, the
    keys of which are the local parts of the recipients.
    """
    uvloop.run(_accept(connection, board))


async def _accept(connection: Connection, board: Board) -> None:
    arrivals: list[Arrival] = []

    def note(recipient: bytes) -> None:
        arrivals.append(Arrival(time.monotonic_ns(), recipient.partition(b"@")[0], None))
        board.count = len(arrivals)

    parent = os.getppid()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Session(note), HOST, 0, backlog=BACKLOG)
    connection.send(server.sockets[0].getsockname()[1])
    while not board.ended and not orphaned(parent):  # noqa: ASYNC110 - another process asks for the end
        await asyncio.sleep(LOOK_SECONDS)
    server.close()
    connection.send(arrivals)


class _Session(asyncio.Protocol):
    """One session (RFC 5321): good clients only."""

    def __init__(self, note: Callable[[bytes], None]) -> None:
        self._note = note
        self._buffer = bytearray()
        self._recipient = b""
        self._in_data = False
        self._searched = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self._transport.write(b"220 localhost\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._take_mail() if self._in_data else self._take_command():
            pass

    def _take_mail(self) -> bool:
        end = self._buffer.find(DOT, self._searched)
        if end < 0:
            self._searched = max(0, len(self._buffer) - len(DOT))
            return False
        self._searched = 0
        self._note(self._recipient)
        self._transport.write(b"250 Kept\r\n")
        del self._buffer[: end + len(DOT)]
        self._in_data = False
        return True

    def _take_command(self) -> bool:
        line, end, rest = self._buffer.partition(b"\r\n")
        if not end:
            return False
        self._buffer = rest
        match bytes(line[:4]).upper():
            case b"EHLO":
                reply = b"250-localhost\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8"
            case b"RCPT":
                self._recipient = bytes(line[line.index(b"<") + 1 : line.rindex(b">")])
                reply = b"250 OK"
            case b"DATA":
                self._in_data = True
                reply = b"354 Go on"
            case b"QUIT":
                reply = b"221 Bye"
            case _:
                reply = b"250 OK"
        self._transport.write(reply + b"\r\n")
        return True
