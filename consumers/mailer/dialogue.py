"""What is said on a session once it stands: commands, several at a time where the server offers that, and replies.

aiosmtplib opens sessions (greeting, EHLO, STARTTLS, AUTH), and waits for each reply before it says the next command: a
mail would be four round trips. With PIPELINING (RFC 2920) it is two.
"""

import asyncio
from collections import deque
from typing import NamedTuple, cast

from aiosmtplib import SMTP

LONGEST_REPLY = 64 * 1024
"Bytes; what is longer is no reply."
GO_ON = 354
"The server takes what comes next for a message."


class Said(NamedTuple):
    """A reply (RFC 5321, section 4.2); the code is -1 where a line is none."""

    code: int
    text: str


class Dialogue(asyncio.Protocol):
    """The rest of a session."""

    def __init__(self, client: SMTP) -> None:
        """Take it over from the client that has opened it, which is not to be asked anything any more.

        Raises:
            ConnectionError: the connection is lost.
        """
        if client.transport is None:
            raise ConnectionResetError("the connection is lost")
        self._transport = cast(asyncio.Transport, client.transport)
        self._transport.set_protocol(self)
        self.can_pipeline = client.supports_extension("pipelining")
        self._buffer = bytearray()
        self._lines: list[str] = []
        self._length = 0
        "Bytes of the lines, which are a reply's that has not ended yet."
        self._replies: deque[Said] = deque()
        self._awaited = 0
        self._skipped = 0
        "Of the awaited replies the first so many, which nobody wants to know any more."
        self._waiter: asyncio.Future[None] | None = None
        self._lost: ConnectionError | None = None

    @property
    def is_open(self) -> bool:
        """Whether something can be said."""
        return self._lost is None and not self._transport.is_closing()

    def say(self, words: bytes, *, replies: int = 1) -> None:
        """Send commands, or a message, to which there will be so many replies.

        Raises:
            ConnectionError: the connection is lost.
        """
        if not self.is_open:
            raise self._lost or ConnectionResetError("closed")
        self._awaited += replies
        self._transport.write(words)

    async def reply(self) -> Said:
        """The next reply.

        Raises:
            ConnectionError: the connection is lost, and it had not come.
        """
        while not self._replies:
            if self._lost is not None:
                raise self._lost
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._replies.popleft()

    async def ask(self, command: bytes) -> Said:
        """The reply to a command."""
        self.say(command + b"\r\n")
        return await self.reply()

    def skip(self) -> None:
        """Nobody will ask for the replies to what was said so far."""
        left, self._replies = self._replies, deque()
        self._skipped = self._awaited
        for said in left:
            self._pass_over(said)

    def close(self) -> None:
        """Drop the connection."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        *lines, rest = (self._buffer + data).split(b"\n")
        self._buffer = rest
        for line in lines:
            self._take(bytes(line.rstrip(b"\r")))
        if self._length + len(rest) > LONGEST_REPLY:
            self.close()
        if self._replies:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._lost = ConnectionResetError("the connection is lost")
        self._lost.__cause__ = exc
        self._wake()

    def _take(self, line: bytes) -> None:
        code = int(line[:3]) if line[:3].isdigit() else -1
        self._lines.append(line[4:].decode("utf-8", "replace"))
        self._length += len(line)
        if line[3:4] == b"-" and code != -1:
            return
        said, self._lines, self._length = Said(code, "\n".join(self._lines)), [], 0
        self._awaited -= 1
        if self._awaited < 0:
            self.close()  # nobody has asked: it takes leave (421), or is out of step
        elif self._skipped:
            self._skipped -= 1
            self._pass_over(said)
        else:
            self._replies.append(said)

    def _pass_over(self, said: Said) -> None:
        if said.code == GO_ON:
            self.close()  # it would take the next commands for the message

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
