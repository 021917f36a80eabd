"""Other ways to the same mails, and composing alone: each in a process of its own, without Kafka and PostgreSQL.

Each is given what walletq's mailer reads from its database. An EmailMessage says the words of a letter of walletq's,
with the address and the order replaced, around walletq's own QR code: what differs is how a mail becomes bytes, and how
it is sent.
"""

import asyncio
import email
import email.policy
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from multiprocessing.connection import Connection
from typing import NamedTuple
from uuid import UUID

import aiosmtplib
import uvloop

from benchmarks.queues import shipped_pools
from benchmarks.worker import Board
from consumers.mailer.endings import Dossier
from consumers.mailer.handler import composer
from consumers.mailer.qr import qr_png
from embedded.ports import HOST
from schemas.catalogue import read_catalogue
from schemas.settings import Settings
from tests.traffic import address
from tests.traffic.holding import LOCALES
from tests.traffic.lifecycle import amount

AT_A_TIME = 8
"As many as walletq's mailer by default."


async def compose(dossiers: Sequence[Dossier], _port: int, board: Board) -> None:
    """walletq's letters, sent nowhere."""
    write = composer(Settings(), read_catalogue())
    for dossier in dossiers:
        write(dossier, dossier.read_at)
        board.count += 1


async def build(dossiers: Sequence[Dossier], _port: int, board: Board) -> None:
    """The same as EmailMessage, sent nowhere."""
    words = Words(dossiers)
    for dossier in dossiers:
        words.message(dossier).as_bytes()
        board.count += 1


async def send_each(dossiers: Sequence[Dossier], port: int, board: Board) -> None:
    """A connection for each mail, as many at a time as walletq has connections."""
    words, left = Words(dossiers), iter(dossiers)

    async def some() -> None:
        for dossier in left:
            await aiosmtplib.send(words.message(dossier), hostname=HOST, port=port)
            board.count += 1

    await asyncio.gather(*(some() for _ in range(AT_A_TIME)))


async def send_over_one(dossiers: Sequence[Dossier], port: int, board: Board) -> None:
    """One mail after the other over one connection."""
    words = Words(dossiers)
    async with aiosmtplib.SMTP(hostname=HOST, port=port) as client:
        for dossier in dossiers:
            await client.send_message(words.message(dossier))
            board.count += 1


class Way(NamedTuple):
    """What it is called, what it does, and whether it needs a mail server."""

    title: str
    go: Callable[[Sequence[Dossier], int, Board], Coroutine[None, None, None]]
    sends: bool


WAYS = {
    "send": Way(f"aiosmtplib.send(), {AT_A_TIME} at a time", send_each, sends=True),
    "kept": Way("aiosmtplib, one kept connection", send_over_one, sends=True),
    "build": Way("EmailMessage, building alone", build, sends=False),
    "compose": Way("walletq, composing alone", compose, sends=False),
}


def run_way(connection: Connection, board: Board, way: str, seed: int, mails: int, port: int) -> None:
    """Go when told, and say how many seconds it took; see `worker.Work`. It stays until it is killed."""
    dossiers = make_dossiers(seed, mails)
    connection.send(None)
    connection.recv()
    began = time.perf_counter()
    uvloop.run(WAYS[way].go(dossiers, port, board))
    connection.send(time.perf_counter() - began)
    connection.recv()


def make_dossiers(seed: int, count: int) -> list[Dossier]:
    """What is known of orders as those of tests.traffic.holding."""
    rng = random.Random(f"dossiers of {seed}")
    pools, now = shipped_pools(), datetime.now(UTC)
    dossiers = []
    for number in range(count):
        pool = pools[number % len(pools)]
        dossiers.append(
            Dossier(
                notification_id=UUID(int=rng.getrandbits(128), version=4),
                kind="assigned",
                partition=0,
                offset=number,
                order_id=f"mail-{number}",
                currency=pool.currency,
                network=pool.network,
                address=address(pool.network, rng),
                waited=False,
                assigned_at=now,
                released=False,
                queue_place=None,
                attempts=0,
                email=f"mail-{number}@example.com",
                locale=LOCALES[number // len(pools) % 2],
                amount=amount(pool.currency, rng),
                expires_at=now + timedelta(hours=1),
                traceparent=None,
                read_at=now,
            )
        )
    return dossiers


class Words:
    """The words of the letters, from one of walletq's in each language."""

    def __init__(self, dossiers: Sequence[Dossier]) -> None:
        """Args:
        dossiers: the first of each language is what the letter is taken from.
        """
        write = composer(Settings(), read_catalogue())
        firsts = {dossier.locale: dossier for dossier in reversed(dossiers)}
        self._letters = {
            locale: (first, _read(write(first, first.read_at).content)) for locale, first in firsts.items()
        }

    def message(self, dossier: Dossier) -> EmailMessage:
        """A mail, as the standard library's documentation builds one."""
        first, letter = self._letters[dossier.locale]

        def said(part: str) -> str:
            body = letter.get_body((part,))
            assert body is not None
            assert first.address is not None
            assert dossier.address is not None
            return (
                str(body.get_content())
                .replace(first.address, dossier.address)
                .replace(first.order_id, dossier.order_id)
            )

        message = EmailMessage()
        for name in ("From", "Subject", "Date", "Auto-Submitted"):
            message[name] = letter[name]
        message["To"] = dossier.email
        message["Message-ID"] = f"<{dossier.notification_id}@walletq.example>"
        message.set_content(said("plain"))
        message.add_alternative(said("html"), subtype="html")
        html = message.get_body(("html",))
        assert html is not None
        html.add_related(qr_png(dossier.address), "image", "png", cid=letter["Message-ID"])
        return message


def _read(content: bytes) -> EmailMessage:
    return email.message_from_bytes(content, policy=email.policy.default)
