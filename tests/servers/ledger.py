"""A fast mail server that draws every answer by lot, and keeps a ledger of what was tried and what has arrived."""

import asyncio
import contextlib
import random
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, cast

from embedded.ports import HOST

DOT = b"\r\n.\r\n"
MESSAGE_ID = re.compile(rb"^Message-ID: <([^@>]+)@", re.MULTILINE)


class Answer(NamedTuple):
    """What becomes of an attempt."""

    kind: Literal["accepted", "dropped", "transient", "permanent"]
    phase: Literal["RCPT", "DATA", "dot"] = "dot"
    reply: str | None = "250 Kept"
    "None: the connection is lost instead."

    @property
    def accepts(self) -> bool:
        """The mail has arrived, whether its sender is told or not."""
        return self.kind in ("accepted", "dropped")


ACCEPTED = Answer("accepted")
DROPPED = Answer("dropped", "dot", None)
TRANSIENT = (
    Answer("transient", "RCPT", "451 4.7.1 Greylisted"),
    Answer("transient", "RCPT", "452 4.2.2 Mailbox full"),
    Answer("transient", "RCPT", "421 4.3.2 Shutting down"),
    Answer("transient", "DATA", "451 4.3.0 Not now"),
    Answer("transient", "DATA", None),
    Answer("transient", "dot", "451 4.3.0 No room"),
)
PERMANENT = (
    Answer("permanent", "RCPT", "550 5.1.1 No such user"),
    Answer("permanent", "RCPT", "552 5.2.2 Over quota"),
    Answer("permanent", "dot", "554 5.6.0 Not this message"),
)


@dataclass(frozen=True)
class Odds:
    """How likely each kind of answer is. A mail that has been put off `patience` times is put off no more."""

    seed: int
    transient: float = 0.3
    permanent: float = 0.01
    dropped: float = 0.01
    patience: int = 3

    def answer(self, recipient: str, earlier: int) -> Answer:
        """To an attempt, after so many earlier ones of this recipient: the same for the same seed."""
        rng = random.Random(f"{self.seed} {recipient} {earlier}")
        dice = rng.random()
        if dice < self.permanent:
            return rng.choice(PERMANENT)
        if dice < self.permanent + self.dropped:
            return DROPPED
        if dice < self.permanent + self.dropped + self.transient and earlier < self.patience:
            return rng.choice(TRANSIENT)
        return ACCEPTED


class Attempt(NamedTuple):
    """One mail, as far as it came."""

    recipient: str
    answer: Answer
    port: int
    "At which it was tried: who has a port of its own can be told by it."
    at: float
    "Seconds of the loop's clock."
    message_id: str | None
    "Without its brackets and domain; None where the message did not come."


@dataclass
class Ledger:
    """The server. Made by `ledger`."""

    odds: Odds
    keeps: Callable[[str], bool]
    attempts: list[Attempt] = field(default_factory=list)
    kept: dict[str, bytes] = field(default_factory=dict)
    "The last message that was accepted, of the recipients that `keeps` chooses."
    _tried: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _tried_at: set[int] = field(default_factory=set)
    _sessions: set["_Session"] = field(default_factory=set)
    _listening: list[asyncio.Server] = field(default_factory=list)

    async def listen(self) -> int:
        """Listen on one port more, and return it."""
        server = await asyncio.get_running_loop().create_server(lambda: _Session(self), HOST, 0)
        self._listening.append(server)
        return int(server.sockets[0].getsockname()[1])

    def tried_at(self, port: int) -> bool:
        """Whether anybody has tried anything at this port."""
        return port in self._tried_at

    def by_recipient(self) -> Mapping[str, list[Attempt]]:
        """What was tried, in its order."""
        found: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in self.attempts:
            found[attempt.recipient].append(attempt)
        return found

    def decide(self, recipient: str) -> Answer:
        """The answer to the next attempt of this recipient."""
        earlier = self._tried[recipient]
        self._tried[recipient] = earlier + 1
        return self.odds.answer(recipient, earlier)

    def note(self, attempt: Attempt) -> None:
        """An attempt is over."""
        self.attempts.append(attempt)
        self._tried_at.add(attempt.port)

    def enter(self, session: "_Session") -> None:
        """There is one session more."""
        self._sessions.add(session)

    def leave(self, session: "_Session") -> None:
        """There is one session less."""
        self._sessions.discard(session)

    def close(self) -> None:
        """Listen no more, and drop everybody."""
        for server in self._listening:
            server.close()
        for session in list(self._sessions):
            session.drop()


class _Session(asyncio.Protocol):
    """One session (RFC 5321): clients that know what they are doing only. Commands may come several at a time."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._buffer = bytearray()
        self._in_data = False
        self._searched = 0
        self._recipient = ""
        self._answer = ACCEPTED

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._port = int(transport.get_extra_info("sockname")[1])
        self._ledger.enter(self)
        self._say("220 localhost")

    def connection_lost(self, _error: Exception | None) -> None:
        self._ledger.leave(self)

    def drop(self) -> None:
        """Lose the connection."""
        self._buffer.clear()
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._take_message() if self._in_data else self._take_command():
            pass

    def _take_command(self) -> bool:
        line, end, rest = self._buffer.partition(b"\r\n")
        if not end:
            return False
        self._buffer = rest
        match bytes(line[:4]).upper():
            case b"EHLO":
                self._say("250-localhost\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8")
            case b"RCPT":
                self._recipient = line[line.index(b"<") + 1 : line.rindex(b">")].decode()
                self._answer = self._ledger.decide(self._recipient)
                if self._answer.phase == "RCPT":
                    self._end(None)
                else:
                    self._say("250 OK")
            case b"DATA" if not self._recipient:
                self._say("503 Nobody to send it to")
            case b"DATA" if self._answer.phase == "DATA":
                self._end(None)
            case b"DATA":
                self._in_data = True
                self._say("354 Go on")
            case b"QUIT":
                self._say("221 Bye")
            case _:
                self._say("250 OK")
        return True

    def _take_message(self) -> bool:
        end = self._buffer.find(DOT, self._searched)
        if end < 0:
            self._searched = max(0, len(self._buffer) - len(DOT))
            return False
        content = bytes(self._buffer[: end + 2])
        del self._buffer[: end + len(DOT)]
        self._searched, self._in_data = 0, False
        if self._answer.accepts and self._ledger.keeps(self._recipient):
            self._ledger.kept[self._recipient] = content
        self._end(content)
        return True

    def _end(self, content: bytes | None) -> None:
        """The attempt is over."""
        found = MESSAGE_ID.search(content) if content is not None else None
        at = asyncio.get_running_loop().time()
        message_id = found[1].decode() if found else None
        self._ledger.note(Attempt(self._recipient, self._answer, self._port, at, message_id))
        self._recipient = ""
        reply = self._answer.reply
        if reply is not None:
            self._say(reply)
        if reply is None or reply.startswith("421"):
            self._buffer.clear()
            self._transport.close()  # what was said before goes out

    def _say(self, reply: str) -> None:
        self._transport.write(reply.encode() + b"\r\n")


@contextlib.asynccontextmanager
async def ledger(odds: Odds, keeps: Callable[[str], bool]) -> AsyncIterator[Ledger]:
    """The server, which listens nowhere yet.

    Args:
        odds: of the answers.
        keeps: whether the message to a recipient is kept.
    """
    made = Ledger(odds, keeps)
    try:
        yield made
    finally:
        made.close()
