"""A mail server that keeps what it accepts as .eml files.

    python -m embedded.inbox --port 2525 --folder mails

A mail is on disk before its sender reads 250. File names sort by arrival; the envelope is kept in the headers
X-MailFrom and X-RcptTo, one for each recipient, put before the message.
"""

import argparse
import asyncio
import itertools
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop
from aiosmtpd.smtp import SMTP, Envelope, Session

HOST = "127.0.0.1"
MESSAGE_BYTES = 10 * 1024 * 1024


class Inbox:
    """The aiosmtpd handler: one file for each accepted mail."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for unfinished in folder.glob(".*.eml.new"):
            unfinished.unlink(missing_ok=True)
        self._folder = folder
        self._count = itertools.count()

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Keep the mail, then accept it."""
        name = f"{time.time_ns():020d}-{next(self._count) % 1_000_000:06d}.eml"
        try:
            await asyncio.to_thread(self._keep, name, _message(envelope))
        except OSError as error:
            return f"452 The mail cannot be kept: {error.strerror}"
        return "250 Kept"

    def _keep(self, name: str, message: bytes) -> None:
        """Readers see whole mails only, and an accepted one survives a crash."""
        new = self._folder / f".{name}.new"
        with new.open("wb") as file:
            file.write(message)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, self._folder / name)


def _message(envelope: Envelope) -> bytes:
    rows = [f"X-MailFrom: {envelope.mail_from or ''}"]
    rows += [f"X-RcptTo: {recipient}" for recipient in envelope.rcpt_tos]
    head = "".join(row + "\r\n" for row in rows).encode(errors="surrogateescape")
    content = envelope.original_content
    return head + (content if isinstance(content, bytes) else b"")


async def serve(port: int, folder: Path, host: str = HOST) -> None:
    """Take mails until SIGTERM or SIGINT."""
    inbox = Inbox(folder)
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)

    def session() -> SMTP:
        # A hostname, since aiosmtpd would ask the name service for it at every connection.
        return SMTP(
            inbox, hostname="localhost", ident="walletq inbox", enable_SMTPUTF8=True, data_size_limit=MESSAGE_BYTES
        )

    server = await loop.create_server(session, host, port, backlog=1024)
    try:
        await stopped.wait()
    finally:
        server.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m embedded.inbox", description="Keep mails as .eml files.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--host", default=HOST)
    options = parser.parse_args(arguments)
    uvloop.run(serve(options.port, options.folder, options.host))


if __name__ == "__main__":
    main()
