"""Servers that take several commands at a time (RFC 2920): half the round trips, and nothing out of step."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from consumers.mailer.connections import Connections
from consumers.mailer.letters import Message
from consumers.mailer.mail_server import MailServer
from consumers.mailer.verdicts import Kind
from embedded.ports import HOST

ANN = Message("shop@walletq.example", "ann@example.com", b"Subject: Hi\r\n\r\n.dot\r\n", False)
BOB = Message("shop@walletq.example", "bob@example.com", b"Subject: Hi\r\n\r\nBob\r\n", False)
EHLO = b"250-there\r\n250 PIPELINING\r\n"
OK, GO_ON = b"250 OK\r\n", b"354 Go on\r\n"


@dataclass
class Script:
    """A server that answers what comes, whatever it is, with what is written down for it, and hangs up at the end."""

    sessions: Sequence[Sequence[bytes]]
    heard: list[list[bytes]] = field(default_factory=list)
    "What came of each session, as it came in."
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One session."""
        answers, heard = self.sessions[len(self.heard)], list[bytes]()
        self.heard.append(heard)
        writer.write(b"220 there\r\n")
        with contextlib.suppress(ConnectionError):
            for answer in (EHLO, *answers, b""):
                if not (came := await reader.read(65_536)):
                    break
                heard.append(came)
                writer.write(answer)
        writer.close()


@contextlib.asynccontextmanager
async def scripted(*sessions: Sequence[bytes]) -> AsyncIterator[tuple[Script, Connections]]:
    """The server, and connections to it."""
    script = Script(sessions)
    server = await asyncio.start_server(script.serve, HOST)
    script.port = server.sockets[0].getsockname()[1]
    connections = Connections(
        MailServer(HOST, script.port, implicit_tls=False, starttls=False), ssl.create_default_context()
    )
    try:
        yield script, connections
    finally:
        await connections.close()
        server.close()


async def sent(connections: Connections, *messages: Message) -> list[Kind]:
    """What became of each, sent one after the other."""
    return [(await connections.send(message, 5)).kind for message in messages]


async def test_a_mail_takes_two_round_trips() -> None:
    async with scripted([OK + OK + GO_ON, OK, OK + OK + GO_ON, OK]) as (script, connections):
        assert await sent(connections, ANN, BOB) == [Kind.SENT, Kind.SENT]
    [[_, announced, message, *_]] = script.heard
    assert announced == b"MAIL FROM:<shop@walletq.example>\r\nRCPT TO:<ann@example.com>\r\nDATA\r\n"
    assert message == b"Subject: Hi\r\n\r\n..dot\r\n.\r\n"


async def test_a_refused_recipient_leaves_the_session_in_step() -> None:
    refused = b"250 OK\r\n550 5.1.1 Who?\r\n503 5.5.1 Nobody to send it to\r\n"
    async with scripted([refused, OK, OK + OK + GO_ON, OK]) as (script, connections):
        assert await sent(connections, ANN, BOB) == [Kind.PERMANENT, Kind.SENT]
    [session] = script.heard
    assert session[2] == b"RSET\r\n"


async def test_replies_that_come_late_are_passed_over() -> None:
    answers = [b"250 OK\r\n450 Later\r\n", b"503 What?\r\n250 OK\r\n", OK + OK + GO_ON, OK]
    async with scripted(answers) as (script, connections):
        assert await sent(connections, ANN, BOB) == [Kind.TRANSIENT, Kind.SENT]
    assert len(script.heard) == 1


@pytest.mark.parametrize("answers", [[b"250 OK\r\n550 Who?\r\n354 Go on\r\n"], [b"250 OK\r\n550 Who?\r\n", GO_ON]])
async def test_a_server_that_waits_for_a_message_to_nobody_gets_no_other_for_it(answers: list[bytes]) -> None:
    async with scripted(answers, [OK + OK + GO_ON, OK]) as (script, connections):
        assert await sent(connections, ANN, BOB) == [Kind.PERMANENT, Kind.SENT]
    first, second = script.heard
    assert not any(b"Subject" in came for came in first)
    assert b"bob@example.com" in second[1]


async def test_a_server_that_says_something_unasked_is_not_believed_any_more() -> None:
    first = [OK + OK + GO_ON, OK + b"250 And one more\r\n"]
    async with scripted(first, [OK + OK + GO_ON, OK]) as (script, connections):
        assert await sent(connections, ANN, BOB) == [Kind.SENT, Kind.SENT]
    assert len(script.heard) == 2


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"421 Bye\r\n", Kind.TRANSIENT),
        (b"250 OK\r\n421 Bye\r\n", Kind.TRANSIENT),
        (b"550 Not you\r\n503 No\r\n503 No\r\n", Kind.SERVER_REFUSES),
        (b"250 OK\r\n250 OK\r\n451 Later\r\n", Kind.TRANSIENT),
        (b"250 OK\r\nwhat?\r\n", Kind.TRANSIENT),
        (b"250-" + b"x" * 70_000, Kind.TRANSIENT),
        (b"250-x\r\n" * 15_000, Kind.TRANSIENT),
    ],
)
async def test_what_ends_an_attempt_before_its_message(answer: bytes, kind: Kind) -> None:
    async with scripted([answer]) as (script, connections):
        assert await sent(connections, ANN) == [kind]
    assert not any(b"Subject" in came for came in script.heard[0])
