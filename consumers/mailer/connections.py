"""Kept connections to the mail server."""

import asyncio
import re
import ssl

from consumers.mailer.letters import Message
from consumers.mailer.mail_server import MailServer
from consumers.mailer.smtp import OnPhase, Session
from consumers.mailer.verdicts import Verdict

CLOSE_AFTER_SECONDS = 30.0
"A connection that was idle for longer is closed."

_SAFE = re.compile(r"[^\s<>\x00-\x1f\x7f\ud800-\udfff]+@[^\s<>@\x00-\x1f\x7f\ud800-\udfff]+")


class NoAddress(Exception):
    """A recipient that RCPT cannot say."""


class Connections:
    """The connections of one mailer: the one that was used last is used first, so that the others grow idle."""

    def __init__(self, server: MailServer, tls: ssl.SSLContext, on_phase: OnPhase | None = None) -> None:
        self._server = server
        self._tls = tls
        self._on_phase = on_phase
        self._idle: list[Session] = []

    async def send(self, message: Message, seconds: float, answer_seconds: float | None = None) -> Verdict:
        """Send one message. Never raises for what the server or network does.

        Args:
            message: what to send.
            seconds: within which it is handed over to the server.
            answer_seconds: within which the server's answer to it is there; `seconds` where it is left out. A server
                that is slow to answer has the message all the same: whoever gives up sends it twice.

        Raises:
            NoAddress: the recipient is nothing that RCPT can say.
        """
        if not _SAFE.fullmatch(message.recipient):
            raise NoAddress("the recipient is no address, or would say more in SMTP than that")
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

    async def _take(self) -> Session:
        while self._idle:
            session = self._idle.pop()
            if not session.is_worn:
                return session
            await session.quit()
        return Session(self._server, self._tls, self._on_phase)
