"""Kept connections to the mail server, and what an attempt to send over one came to."""

import asyncio
import contextlib
import ipaddress
import re
import socket
import ssl
import time
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from aiosmtplib import SMTP, SMTPException, SMTPResponseException
from aiosmtplib.errors import SMTPTimeoutError
from aiosmtplib.protocol import SMTPProtocol

from consumers.mailer.letters import Message
from consumers.mailer.tls import what_is_wrong
from consumers.mailer.verdicts import Insecure, Kind, NoAnswer, Phase, Problem, Reply, Unsupported, Verdict, classify

CHECK_AFTER_SECONDS = 5.0
"A connection that was idle for longer is asked whether it still lives."
CLOSE_AFTER_SECONDS = 30.0
"A connection that was idle for longer is closed."
MOST_MAILS = 100
OLDEST_SECONDS = 300.0
"A connection that has carried so many mails, or is so old, is replaced, before the server or a balancer ends it."

_SAFE = re.compile(r"[^\s<>\x00-\x1f\x7f]+@[^\s<>@\x00-\x1f\x7f]+")
_LINE_BEGINS_WITH_DOT = re.compile(rb"^\.", re.MULTILINE)


@dataclass(frozen=True)
class MailServer:
    """Where mail goes, and how."""

    host: str
    port: int
    implicit_tls: bool
    starttls: bool
    user: str | None = None
    password: str | None = field(default=None, repr=False)


def read_mail_server(url: str) -> MailServer:
    """The server of a WALLETQ_SMTP_URL: smtps:// is TLS from the start; smtp:// needs STARTTLS, except on loopback."""
    parts = urlsplit(url)
    host = parts.hostname or "localhost"
    implicit = parts.scheme == "smtps"
    return MailServer(
        host=host,
        port=parts.port or (465 if implicit else 587),
        implicit_tls=implicit,
        starttls=not implicit and not _is_loopback(host),
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password or "") if parts.username else None,
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Connections:
    """The connections of one mailer: the one that was used last is used first, so that the others grow idle."""

    def __init__(self, server: MailServer, tls: ssl.SSLContext) -> None:
        self._server = server
        self._tls = tls
        self._idle: list[Session] = []

    async def send(self, message: Message, seconds: float, answer_seconds: float | None = None) -> Verdict:
        """Send one message. Never raises for what the server or network does.

        Args:
            message: what to send.
            seconds: within which it is handed over to the server.
            answer_seconds: within which the server's answer to it is there; `seconds` where it is left out. A server
                that is slow to answer has the message all the same: whoever gives up sends it twice.

        Raises:
            ValueError: the recipient is nothing that RCPT can say.
        """
        if not _SAFE.fullmatch(message.recipient):
            raise ValueError("the recipient is no address, or would say more in SMTP than that")
        now = asyncio.get_running_loop().time()
        session = await self._take()
        try:
            verdict = await session.send(message, now + seconds, now + (answer_seconds or seconds))
        except BaseException:
            session.close()
            raise
        if session.is_open:
            self._idle.append(session)
        return verdict

    def close_idle(self) -> None:
        """Close what nobody has used for a while."""
        for session in [session for session in self._idle if session.idle_seconds > CLOSE_AFTER_SECONDS]:
            self._idle.remove(session)
            session.close()

    async def close(self) -> None:
        """Take leave of the server."""
        idle, self._idle = self._idle, []
        await asyncio.gather(*(session.quit() for session in idle))

    async def _take(self) -> "Session":
        while self._idle:
            session = self._idle.pop()
            if not session.is_worn:
                return session
            await session.quit()
        return Session(self._server, self._tls)


class Session:
    """One connection. `send` opens it where it is not open."""

    def __init__(self, server: MailServer, tls: ssl.SSLContext) -> None:
        self._server = server
        self._tls = tls
        self._client: SMTP | None = None
        self._phase = Phase.CONNECT
        self._opened_at = 0.0
        self._used_at = 0.0
        self._mails = 0
        self._in_transaction = False

    @property
    def is_open(self) -> bool:
        """Whether it can be kept for the next message."""
        return self._client is not None and self._client.is_connected

    @property
    def idle_seconds(self) -> float:
        """Since it was used last."""
        return time.monotonic() - self._used_at

    @property
    def is_worn(self) -> bool:
        """Whether another is to take its place."""
        return self._mails >= MOST_MAILS or time.monotonic() - self._opened_at > OLDEST_SECONDS

    async def send(self, message: Message, hand_over_by: float, answer_by: float) -> Verdict:
        """Send one message: hand it over, and have its answer, by these times of the event loop."""
        problem: Problem | None = None
        try:
            async with asyncio.timeout_at(hand_over_by) as limit:
                client = await self._begun(message)
                protocol = await self._hand_over(client, message)
                limit.reschedule(answer_by)
                await self._answered(protocol)
        except _Refused as refused:
            problem = refused.problem
        except (asyncio.TimeoutError, SMTPTimeoutError):
            problem = NoAnswer("timeout")
        except SMTPResponseException as error:
            problem = Reply(error.code, error.message)
        except (SMTPException, OSError) as error:
            problem = read_loss(self._phase, error)
        verdict = classify(self._phase, problem)
        # After anything but a plain answer nobody knows what the server says next.
        if problem is not None and not (isinstance(problem, (Reply, Unsupported)) and _goes_on(problem)):
            self.close()
        if verdict.kind is Kind.SERVER_REFUSES:
            self.close()
        self._used_at = time.monotonic()
        return verdict

    def close(self) -> None:
        """Drop the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None

    async def quit(self) -> None:
        """Take leave, for politeness only."""
        if self._client is not None and self._client.is_connected:
            with contextlib.suppress(SMTPException, OSError, asyncio.TimeoutError):  # it is gone either way
                await self._client.quit(timeout=1)
        self.close()

    async def _begun(self, message: Message) -> SMTP:
        """The connection, on which MAIL is said."""
        if self._client is not None and self.is_open:
            try:
                return await self._begun_on_kept(self._client, message)
            except (_Ended, SMTPException, OSError):
                self.close()
        client = await self._open()
        await self._mail(client, message)
        return client

    async def _begun_on_kept(self, client: SMTP, message: Message) -> SMTP:
        """MAIL over the connection that is open.

        Raises:
            _Ended: the server wants no more of it, which is what servers do with idle or much-used connections: it
                says nothing about the message, nor about what it would say to us on a new one.
        """
        self._phase = Phase.MAIL
        if self._in_transaction or self.idle_seconds > CHECK_AFTER_SECONDS:
            code, _ = await client.execute_command(b"RSET", timeout=None)
            if code != 250:
                raise _Ended
        try:
            await self._mail(client, message)
        except _Refused as refused:
            if isinstance(refused.problem, Reply) and (refused.problem.code == 421 or refused.problem.code >= 500):
                raise _Ended from None
            raise
        return client

    async def _open(self) -> SMTP:
        client = SMTP(
            hostname=self._server.host,
            port=self._server.port,
            use_tls=self._server.implicit_tls,
            start_tls=False,  # the phases are ours to tell apart: see below
            tls_context=self._tls,
            timeout=None,  # the attempt has its own
            local_hostname="localhost",  # never sent; aiosmtplib would ask the name service for its default
        )
        try:
            await self._greet(client)
        except BaseException:
            client.close()  # one that is kept without TLS, or not logged in, would carry the next mail
            raise
        self._client = client
        self._opened_at = time.monotonic()
        self._mails = 0
        self._in_transaction = False
        return client

    async def _greet(self, client: SMTP) -> None:
        server = self._server
        self._phase = Phase.CONNECT
        await client.connect()
        self._phase = Phase.EHLO
        await client.ehlo(hostname=_our_name(client))
        if server.starttls:
            self._phase = Phase.STARTTLS
            if not client.supports_extension("starttls"):
                raise _Refused(Insecure("the server does not offer STARTTLS"))
            await client.starttls()
            self._phase = Phase.EHLO
            await client.ehlo(hostname=_our_name(client))
        if server.user is not None:
            self._phase = Phase.AUTH
            if not client.supported_auth_methods:
                raise _Refused(Reply(504, "the server offers no authentication that walletq knows"))
            await client.login(server.user, server.password or "")

    async def _mail(self, client: SMTP, message: Message) -> None:
        self._phase = Phase.MAIL
        options = []
        if message.needs_smtputf8:
            if not client.supports_extension("smtputf8"):
                self._phase = Phase.RCPT  # it is this recipient that the server cannot take
                raise _Refused(Unsupported("SMTPUTF8"))
            options.append(b"SMTPUTF8")
        self._in_transaction = True
        sender = b"FROM:<" + message.sender.encode("ascii") + b">"
        self._expect(await client.execute_command(b"MAIL", sender, *options, timeout=None), 250)

    async def _hand_over(self, client: SMTP, message: Message) -> SMTPProtocol:
        self._phase = Phase.RCPT
        recipient = b"TO:<" + message.recipient.encode("utf-8") + b">"
        self._expect(await client.execute_command(b"RCPT", recipient, timeout=None), 250, 251)
        self._phase = Phase.DATA
        self._expect(await client.execute_command(b"DATA", timeout=None), 354)
        protocol = client.protocol
        if protocol is None:
            raise _Refused(NoAnswer("connection lost"))
        protocol.write(_stuffed(message.content))  # raises where the connection is gone already
        self._phase = Phase.FINAL_DOT
        self._mails += 1
        return protocol

    async def _answered(self, protocol: SMTPProtocol) -> None:
        # Not aiosmtplib's data(): its errors do not tell before the final dot from after it.
        self._expect(await protocol.read_response(timeout=None), 250)
        self._in_transaction = False

    @staticmethod
    def _expect(reply: tuple[int, str], *wanted: int) -> None:
        code, text = reply
        if code not in wanted:
            raise _Refused(Reply(code, text))


class _Refused(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


class _Ended(Exception):
    """A kept connection is not to be used any more."""


def read_loss(phase: Phase, error: BaseException) -> Problem:
    """What a connection that fails in a phase means. TLS that breaks in the middle of a mail is a lost connection like
    any other: that it can be had, and verifies, is known by then."""
    broken = error if isinstance(error, ssl.SSLError) else error.__cause__  # aiosmtplib wraps that of implicit TLS
    if isinstance(broken, ssl.SSLError) and phase < Phase.MAIL:
        return Insecure(what_is_wrong(broken))
    return NoAnswer(f"no connection: {type(error.__cause__ or error).__name__}")


def _goes_on(problem: Reply | Unsupported) -> bool:
    """Whether the session can be used after this: 421 announces its end, other codes than 4xx and 5xx are nonsense."""
    return isinstance(problem, Unsupported) or (400 <= problem.code < 600 and problem.code != 421)


def _stuffed(content: bytes) -> bytes:
    """The message as DATA takes it, with its final dot (RFC 5321, section 4.5.2). Its lines end with CRLF already."""
    return _LINE_BEGINS_WITH_DOT.sub(b"..", content) + b".\r\n"


def _our_name(client: SMTP) -> str:
    """What EHLO says: this machine's full name where it has one, else its address as a literal (section 4.1.3)."""
    name = socket.gethostname()
    if "." in name and re.fullmatch(r"[A-Za-z0-9.-]+", name):
        return name
    address = ipaddress.ip_address(str(client.get_transport_info("sockname")[0]).partition("%")[0])
    return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"
