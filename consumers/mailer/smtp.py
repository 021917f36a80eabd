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

from consumers.mailer.letters import Message
from consumers.mailer.verdicts import Insecure, Kind, NoAnswer, Phase, Problem, Reply, Unsupported, Verdict, classify

CONNECT_SECONDS = 10.0
CHECK_AFTER_SECONDS = 5.0
"A connection that was idle for longer is asked whether it still lives."
CLOSE_AFTER_SECONDS = 30.0
"A connection that was idle for longer is closed."

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

    async def send(self, message: Message, seconds: float) -> Verdict:
        """Send one message; an answer is there within `seconds`. Never raises for what the server or network does."""
        session = self._idle.pop() if self._idle else Session(self._server, self._tls)
        try:
            verdict = await session.send(message, seconds)
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


class Session:
    """One connection. `send` opens it where it is not open."""

    def __init__(self, server: MailServer, tls: ssl.SSLContext) -> None:
        self._server = server
        self._tls = tls
        self._client: SMTP | None = None
        self._phase = Phase.CONNECT
        self._used_at = 0.0
        self._in_transaction = False

    @property
    def is_open(self) -> bool:
        """Whether it can be kept for the next message."""
        return self._client is not None and self._client.is_connected

    @property
    def idle_seconds(self) -> float:
        """Since it was used last."""
        return time.monotonic() - self._used_at

    async def send(self, message: Message, seconds: float) -> Verdict:
        """Send one message within `seconds`."""
        problem: Problem | None = None
        try:
            async with asyncio.timeout(seconds):
                await self._send(message)
        except _Refused as refused:
            problem = refused.problem
        except ssl.SSLError as error:
            problem = Insecure(f"TLS does not work: {_reason(error)}")
        except (asyncio.TimeoutError, SMTPTimeoutError):
            problem = NoAnswer("timeout")
        except SMTPResponseException as error:
            problem = Reply(error.code, error.message)
        except (SMTPException, OSError) as error:
            problem = _tls_problem(error) or NoAnswer(f"no connection: {_reason(error)}")
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

    async def _send(self, message: Message) -> None:
        if not await self._begins_on_kept_connection(message):
            client = await self._open()
            await self._mail(client, message)
        assert self._client is not None
        await self._hand_over(self._client, message)

    async def _begins_on_kept_connection(self, message: Message) -> bool:
        """MAIL over the connection that is open. False: there is none, or the server has closed it meanwhile,
        which is what servers do with idle or much-used connections, and nothing that a delivery should wait for."""
        if not self.is_open:
            return False
        assert self._client is not None
        self._phase = Phase.MAIL
        try:
            if self._in_transaction or self.idle_seconds > CHECK_AFTER_SECONDS:
                self._expect(await self._client.execute_command(b"RSET", timeout=None), 250)
            await self._mail(self._client, message)
        except _Refused as refused:
            if isinstance(refused.problem, Reply) and refused.problem.code != 421:
                raise
            self.close()
            return False
        except (SMTPException, OSError):
            self.close()
            return False
        return True

    async def _open(self) -> SMTP:
        self.close()
        self._phase = Phase.CONNECT
        server = self._server
        client = SMTP(
            hostname=server.host,
            port=server.port,
            use_tls=server.implicit_tls,
            start_tls=False,  # the phases are ours to tell apart: see below
            tls_context=self._tls,
            timeout=CONNECT_SECONDS,
            local_hostname="localhost",  # never sent; aiosmtplib would ask the name service for its default
        )
        self._client = client
        self._in_transaction = False
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
        return client

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

    async def _hand_over(self, client: SMTP, message: Message) -> None:
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


def _goes_on(problem: Reply | Unsupported) -> bool:
    """Whether the session can be used after this: 421 announces its end, other codes than 4xx and 5xx are nonsense."""
    return isinstance(problem, Unsupported) or (400 <= problem.code < 600 and problem.code != 421)


def _tls_problem(error: BaseException) -> Insecure | None:
    """aiosmtplib wraps what went wrong with implicit TLS."""
    cause = error.__cause__
    return Insecure(f"TLS does not work: {_reason(cause)}") if isinstance(cause, ssl.SSLError) else None


def _reason(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate does not verify: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return error.reason or type(error).__name__
    return type(error.__cause__ or error).__name__


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
