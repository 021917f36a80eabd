"""A connection to the mail server, and what an attempt to send over it came to."""

import asyncio
import contextlib
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Callable

from aiosmtplib import SMTP, SMTPException, SMTPResponseException
from aiosmtplib.errors import SMTPTimeoutError

from consumers.mailer.dialogue import GO_ON, Dialogue
from consumers.mailer.letters import Message
from consumers.mailer.mail_server import MailServer
from consumers.mailer.tls import what_is_wrong
from consumers.mailer.verdicts import Insecure, Kind, NoAnswer, Phase, Problem, Reply, Unsupported, Verdict, classify

CHECK_AFTER_SECONDS = 5.0
"A connection that was idle for longer is asked whether it still lives."
MOST_MAILS = 100
OLDEST_SECONDS = 300.0
"A connection that has carried so many mails, or is so old, is replaced, before the server or a balancer ends it."

OnPhase = Callable[[Phase, float], None]
"Is told of a phase that is over, and how many seconds it took."


class Session:
    """One connection. `send` opens it where it is not open."""

    def __init__(self, server: MailServer, tls: ssl.SSLContext, on_phase: OnPhase | None = None) -> None:
        self._server = server
        self._tls = tls
        self._on_phase = on_phase
        self._phase_began_at: float | None = None
        "None between two dialogues."
        self._dialogue: Dialogue | None = None
        self._takes_smtputf8 = False
        self._phase = Phase.CONNECT
        self._opened_at = 0.0
        self._used_at = 0.0
        self._mails = 0
        self._in_transaction = False

    @property
    def is_open(self) -> bool:
        """Whether it can be kept for the next message."""
        return self._dialogue is not None and self._dialogue.is_open

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
                dialogue = await self._ready_for(message)
                self._hand_over(dialogue, message)
                limit.reschedule(answer_by)
                self._expect(await dialogue.reply(), 250)
                self._in_transaction = False
        except _Refused as refused:
            problem = refused.problem
        except (asyncio.TimeoutError, SMTPTimeoutError):
            problem = NoAnswer("timeout")
        except SMTPResponseException as error:
            problem = Reply(error.code, error.message)
        except (SMTPException, OSError) as error:
            problem = read_loss(self._phase, error)
        except ValueError as error:  # IDNA knows no such host, or FIPS no such digest; the message is not the matter
            problem = NoAnswer(f"it cannot be asked: {type(error).__name__}")
        self._leave()
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
        if self._dialogue is not None:
            self._dialogue.close()
            self._dialogue = None

    async def quit(self) -> None:
        """Take leave, for politeness only."""
        if self._dialogue is not None and self._dialogue.is_open:
            with contextlib.suppress(OSError, asyncio.TimeoutError):  # it is gone either way
                async with asyncio.timeout(1):
                    await self._dialogue.ask(b"QUIT")
        self.close()

    async def _ready_for(self, message: Message) -> Dialogue:
        """The connection, on which the server waits for the message."""
        if self._dialogue is not None and self.is_open:
            try:
                return await self._ready_on_kept(self._dialogue, message)
            except _Ended:
                self.close()
        dialogue = await self._open()
        await self._announce(dialogue, message)
        return dialogue

    async def _ready_on_kept(self, dialogue: Dialogue, message: Message) -> Dialogue:
        """The same over the connection that is open.

        Raises:
            _Ended: the server wants no more of it, which is what servers do with idle or much-used connections: it
                says nothing about the message, nor about what it would say to us on a new one.
        """
        self._enter(Phase.MAIL)
        try:
            if self._in_transaction or self.idle_seconds > CHECK_AFTER_SECONDS:
                code, _ = await dialogue.ask(b"RSET")
                if code != 250:
                    raise _Ended
            await self._announce(dialogue, message)
        except OSError:
            if self._phase is Phase.MAIL:
                raise _Ended from None
            raise
        except _Refused as refused:
            problem = refused.problem
            if (
                self._phase is Phase.MAIL
                and isinstance(problem, Reply)
                and (problem.code == 421 or problem.code >= 500)
            ):
                raise _Ended from None
            raise
        return dialogue

    async def _open(self) -> Dialogue:
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
        self._dialogue = Dialogue(client)
        self._takes_smtputf8 = client.supports_extension("smtputf8")
        self._opened_at = time.monotonic()
        self._mails = 0
        self._in_transaction = False
        return self._dialogue

    async def _greet(self, client: SMTP) -> None:
        server = self._server
        self._enter(Phase.CONNECT)
        await client.connect()
        self._enter(Phase.EHLO)
        await client.ehlo(hostname=_our_name(client))
        if server.starttls:
            self._enter(Phase.STARTTLS)
            if not client.supports_extension("starttls"):
                raise _Refused(Insecure("the server does not offer STARTTLS"))
            await client.starttls()
            self._enter(Phase.EHLO)
            await client.ehlo(hostname=_our_name(client))
        if server.user is not None:
            self._enter(Phase.AUTH)
            if not client.supported_auth_methods:
                raise _Refused(Reply(504, "the server offers no authentication that walletq knows"))
            await client.login(server.user, server.password or "")

    async def _announce(self, dialogue: Dialogue, message: Message) -> None:
        """Sender and recipient, until the server waits for the message."""
        if message.needs_smtputf8 and not self._takes_smtputf8:
            self._enter(Phase.MAIL)  # not beyond: whether the server takes mails of ours it has not been asked
            raise _Refused(Unsupported("SMTPUTF8"))
        option = b" SMTPUTF8" if message.needs_smtputf8 else b""
        commands = (
            (Phase.MAIL, b"MAIL FROM:<%b>%b\r\n" % (message.sender.encode("ascii"), option), (250,)),
            (Phase.RCPT, b"RCPT TO:<%b>\r\n" % message.recipient.encode("utf-8"), (250, 251)),
            (Phase.DATA, b"DATA\r\n", (GO_ON,)),
        )
        self._in_transaction = True
        if dialogue.can_pipeline:
            dialogue.say(b"".join(command for _, command, _ in commands), replies=len(commands))
        for phase, command, wanted in commands:
            self._enter(phase)
            if not dialogue.can_pipeline:
                dialogue.say(command)
            try:
                self._expect(await dialogue.reply(), *wanted)
            except _Refused:
                dialogue.skip()
                raise

    def _hand_over(self, dialogue: Dialogue, message: Message) -> None:
        dialogue.say(_stuffed(message.content))  # raises where the connection is gone already
        self._enter(Phase.FINAL_DOT)
        self._mails += 1

    def _enter(self, phase: Phase) -> None:
        if phase is not self._phase or self._phase_began_at is None:
            self._leave()
            self._phase = phase
            self._phase_began_at = time.monotonic()

    def _leave(self) -> None:
        """The phase is over."""
        began_at, self._phase_began_at = self._phase_began_at, None
        if self._on_phase is not None and began_at is not None:
            self._on_phase(self._phase, time.monotonic() - began_at)

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
    return (b"\n" + content).replace(b"\n.", b"\n..")[1:] + b".\r\n"


def _our_name(client: SMTP) -> str:
    """What EHLO says: this machine's full name where it has one, else its address as a literal (section 4.1.3)."""
    name = socket.gethostname()
    if "." in name and re.fullmatch(r"[A-Za-z0-9.-]+", name):
        return name
    address = ipaddress.ip_address(str(client.get_transport_info("sockname")[0]).partition("%")[0])
    return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"
