"""A mail server that can be told to misbehave in any phase of SMTP (RFC 5321), and remembers what it has accepted."""

import asyncio
import contextlib
import email
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from email.message import Message
from email.utils import parseaddr
from typing import Literal, NamedTuple

from embedded.ports import HOST

Phase = Literal["banner", "STARTTLS", "MAIL", "RCPT", "DATA", "dot"]
"`dot`: the message is here, and its answer is due."
STALL, DROP = "stall", "drop"
LONGEST_LINE = 1 << 16
Say = Callable[[str], Awaitable[None]]
"Sends a reply."
ADDRESS = re.compile(r"[A-Za-z0-9]{24,}")


class Accepted(NamedTuple):
    """A mail that has arrived, whether its sender knows or not."""

    message_id: str
    "Without its brackets and domain: the notification's id."
    recipient: str
    addresses: frozenset[str]
    "What stands alone on a line of the text and may be a deposit address."
    at: float
    "Monotonic seconds."
    answered: bool
    "The server has said 250."


@dataclass(frozen=True)
class Mood:
    """How the server answers in one phase: a reply, `stall` (silence until the mood ends) or `drop` (a lost
    connection). What is stalled or dropped at the final dot has arrived all the same."""

    phase: Phase
    answer: str


@dataclass
class MailServer:
    """Made by `mail_server`."""

    port: int = 0
    extensions: tuple[str, ...] = ("PIPELINING", "8BITMIME", "SMTPUTF8")
    "What it offers; without 8BITMIME it takes no byte beyond ASCII."
    delay: float = 0.0
    "Seconds that it takes for every answer."
    accepted: list[Accepted] = field(default_factory=list)
    met: int = 0
    "How often somebody met the mood."
    _mood: Mood | None = None
    _better: asyncio.Event = field(default_factory=asyncio.Event)
    _sessions: set["asyncio.Task[None]"] = field(default_factory=set)

    def behave(self, mood: Mood | None) -> None:
        """From now on; None: as it should."""
        self._better.set()
        self._better = asyncio.Event()
        self._mood, self.met = mood, 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One session."""
        task = asyncio.current_task()
        assert task is not None
        self._sessions.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError, _Dropped):
                await self._talk(reader, writer)
        finally:
            self._sessions.discard(task)
            writer.transport.abort()

    async def end_sessions(self) -> None:
        """Drop everybody."""
        self.behave(None)
        for task in list(self._sessions):
            task.cancel()
        if self._sessions:
            await asyncio.wait(self._sessions)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        recipient = ""

        async def say(reply: str) -> None:
            if self.delay:
                await asyncio.sleep(self.delay)
            writer.write(reply.encode() + b"\r\n")
            await writer.drain()
            if reply.startswith("421"):
                raise _Dropped

        await say(await self._answer("banner", "220 localhost"))
        while line := (await reader.readline()).decode("utf-8", "replace").strip():
            match line[:4].upper():
                case "EHLO" | "HELO":
                    await say("\r\n".join([*(f"250-{one}" for one in ("localhost", *self.extensions)), "250 HELP"]))
                case "STAR":
                    await say(await self._answer("STARTTLS", "502 What?"))
                case "MAIL":
                    await say(await self._answer("MAIL", "250 OK"))
                case "RCPT":
                    recipient = line[line.index("<") + 1 : line.rindex(">")]
                    await say(await self._answer("RCPT", "250 OK"))
                case "DATA":
                    reply = await self._answer("DATA", "354 Go on")
                    await say(reply)
                    if reply.startswith("354"):
                        await self._take(recipient, await reader.readuntil(b"\r\n.\r\n"), say)
                case "RSET" | "NOOP":
                    await say("250 OK")
                case "QUIT":
                    await say("221 Bye")
                    return
                case _:
                    await say("502 What?")

    async def _take(self, recipient: str, content: bytes, say: Say) -> None:
        if "8BITMIME" not in self.extensions and not content.isascii():
            await say("554 5.6.1 Eight bits are too many")
            return
        mood = self._mood if self._mood and self._mood.phase == "dot" else None
        if mood is None or mood.answer in (STALL, DROP):
            self.accepted.append(_accepted(recipient, content, answered=mood is None))
        await say(await self._answer("dot", "250 Kept"))

    async def _answer(self, phase: Phase, otherwise: str) -> str:
        mood = self._mood
        if mood is None or mood.phase != phase:
            return otherwise
        self.met += 1
        if mood.answer == DROP:
            raise _Dropped
        if mood.answer == STALL:
            await self._better.wait()
            return otherwise
        return mood.answer


class _Dropped(Exception):
    """The connection is to be lost."""


def _accepted(recipient: str, content: bytes, *, answered: bool) -> Accepted:
    mail = email.message_from_bytes(content)
    return Accepted(
        str(mail["Message-ID"]).strip("<>").partition("@")[0],
        recipient or parseaddr(str(mail["To"]))[1],
        frozenset(_addresses(mail)),
        time.monotonic(),
        answered,
    )


def _addresses(mail: "Message[str, str]") -> list[str]:
    for part in mail.walk():
        if part.get_content_type() == "text/plain":
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            return [line.strip() for line in payload.decode().splitlines() if ADDRESS.fullmatch(line.strip())]
    return []


@contextlib.asynccontextmanager
async def mail_server() -> AsyncIterator[MailServer]:
    """The server at work, on a port of its own."""
    server = MailServer()
    listening = await asyncio.start_server(server.serve, HOST, limit=LONGEST_LINE * 16)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        await server.end_sessions()
