"""What the mailer's tests stand on: orders with wallets, their notifications, mailers, and mail servers with moods."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast
from uuid import uuid4

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from consumers.mailer import run_mailer
from consumers.mailer.terms import Terms
from consumers.messages import Message, send
from schemas.events import WalletAssigned
from schemas.settings import Settings
from schemas.topics import Names, names
from storage.kafka import client_options
from tests.servers.wait import until

Value = TypeVar("Value")

TRON = "TXYZopYRdj2D9XRtbG411XZZ3kM5VkAeBf"


@dataclass
class World:
    """Orders with wallets in the database, and their notifications on the topic."""

    settings: Settings
    database: asyncpg.Connection
    producer: AIOKafkaProducer
    offsets: int = 0

    @property
    def topic(self) -> str:
        """Where notifications go."""
        return names(self.settings).notifications

    async def order(
        self,
        order_id: str,
        *,
        email: str | None = None,
        locale: str = "en",
        address: str = TRON,
        expires_in: timedelta = timedelta(minutes=90),
    ) -> WalletAssigned:
        """A pending order that holds a wallet; the notification of it, which is not published yet."""
        self.offsets += 1
        now = datetime.now(UTC)
        await self.database.execute(
            "INSERT INTO orders (currency, order_id, status, network, amount, email, locale, expires_at, address,"
            " pending_offset, pending_at) VALUES ('USDT', $1, 'pending', 'TRC-20', '250.00', $2, $3, $4, $5, $6, $7)",
            order_id,
            email or f"{order_id}@example.com",
            locale,
            now + expires_in,
            address,
            self.offsets,
            now,
        )
        return await self._assignment(order_id, address, now + expires_in)

    async def _assignment(self, order_id: str, address: str, expires_at: datetime) -> WalletAssigned:
        said = WalletAssigned(
            notification_id=uuid4(),
            order_id=order_id,
            currency="USDT",
            network="TRC-20",
            address=address,
            amount="250.00",
            waited=True,
            assigned_at=datetime.now(UTC),
            expires_at=expires_at,
        )
        await self.database.execute(
            "INSERT INTO assignments (assignment_id, partition, assigned_offset, currency, network, address, order_id,"
            " waited, assigned_at) VALUES ($1, 0, $2, 'USDT', 'TRC-20', $3, $4, true, $5)",
            said.notification_id,
            self.offsets,
            address,
            order_id,
            said.assigned_at,
        )
        return said

    async def waiting(
        self,
        order_id: str,
        *,
        email: str | None = None,
        network: str = "TRC-20",
        waited: timedelta = timedelta(minutes=2),
        expires_in: timedelta = timedelta(minutes=90),
    ) -> int:
        """A pending order that waits for a wallet; its place."""
        self.offsets += 1
        now = datetime.now(UTC)
        await self.database.execute(
            "INSERT INTO orders (currency, order_id, status, network, amount, email, locale, expires_at, queue_place,"
            " pending_offset, pending_at) VALUES ('USDT', $1, 'pending', $2, '250.00', $3, 'en', $4, $5, $5, $6)",
            order_id,
            network,
            email or f"{order_id}@example.com",
            now + expires_in,
            self.offsets,
            now - waited,
        )
        return self.offsets

    async def served(self, order_id: str, address: str = TRON) -> WalletAssigned:
        """An order that waited has a wallet now; the notification of it, which is not published yet."""
        self.offsets += 1
        row = await self.database.fetchrow(
            "UPDATE orders SET queue_place = NULL, address = $2 WHERE order_id = $1 RETURNING network, expires_at",
            order_id,
            address,
        )
        return await self._assignment(order_id, address, row["expires_at"])

    async def release(self, said: WalletAssigned) -> None:
        """The order ends, and its wallet goes to the next."""
        self.offsets += 1
        await self.database.execute(
            "UPDATE orders SET status = 'cancelled', address = NULL, ended_offset = $2, ended_at = now()"
            " WHERE order_id = $1",
            said.order_id,
            self.offsets,
        )
        await self.database.execute(
            "UPDATE assignments SET released_offset = $2, released_at = now() WHERE assignment_id = $1",
            said.notification_id,
            self.offsets,
        )

    async def publish(self, *said: WalletAssigned) -> None:
        """The notifications, as the allocator sends them."""
        for one in said:
            await self.publish_bytes(one.model_dump_json().encode(), one.order_id.encode())

    async def publish_bytes(self, value: bytes | None, key: bytes | None, *, times: int = 1) -> None:
        """Any record, so many times."""
        await send(self.producer, [Message(self.topic, key, value, [("traceparent", TRACEPARENT.encode())])] * times)

    async def assigned(self, order_id: str, **of_the_order: Any) -> WalletAssigned:
        """An order with a wallet, and its notification published."""
        said = await self.order(order_id, **of_the_order)
        await self.publish(said)
        return said

    async def delivery(self, said: WalletAssigned) -> asyncpg.Record | None:
        """The delivery of a notification."""
        return await self.database.fetchrow("SELECT * FROM deliveries WHERE notification_id = $1", said.notification_id)

    async def queued(self, order_id: str) -> asyncpg.Record | None:
        """The delivery of the mail that an order waits."""
        return await self.database.fetchrow(
            "SELECT * FROM deliveries WHERE kind = 'queued' AND order_id = $1", order_id
        )

    async def until(self, said: WalletAssigned, state: str, seconds: float = 20) -> asyncpg.Record:
        """The delivery, once it is in that state."""
        found: list[asyncpg.Record | None] = [None]

        async def there() -> bool:
            found[0] = await self.delivery(said)
            return found[0] is not None and found[0]["state"] == state

        await eventually(there, seconds, lambda: f"expected {state}: {found[0]}")
        assert found[0] is not None
        return found[0]

    async def dead_letters(self, count: int) -> list[Any]:
        """So many records of the topic of dead letters."""
        consumer = AIOKafkaConsumer(
            Names.dead_letters(self.topic), auto_offset_reset="earliest", **client_options(self.settings)
        )
        await consumer.start()
        try:
            async with asyncio.timeout(20):
                return [await consumer.getone() for _ in range(count)]
        finally:
            await consumer.stop()


TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@contextlib.asynccontextmanager
async def open_world(settings: Settings, database: asyncpg.Connection) -> AsyncIterator[World]:
    """The world of a test."""
    producer = AIOKafkaProducer(**client_options(settings))
    await producer.start()
    try:
        yield World(settings, database, producer)
    finally:
        await producer.stop()


@contextlib.asynccontextmanager
async def mailing(settings: Settings, *, terms: Terms | None = None) -> AsyncIterator["asyncio.Task[None]"]:
    """A mailer at work; it is told to stop at the end, and its errors come out."""
    stop = asyncio.Event()
    mailer = asyncio.create_task(run_mailer(settings, stop, terms=terms))
    try:
        yield mailer
    finally:
        stop.set()
        async with asyncio.timeout(15):
            await asyncio.wait([mailer])
        mailer.result()  # a mailer's own error says more than what its absence led to


async def eventually(
    holds: Callable[[], Awaitable[Value | None]], seconds: float = 20, explain: Callable[[], str] = lambda: ""
) -> Value:
    """Wait until it holds, and return its answer."""
    try:
        return cast(Value, await until(holds, seconds))
    except AssertionError as error:
        error.add_note(explain())
        raise


@dataclass
class MoodyServer:
    """A mail server that answers as it is told: a reply, "drop" for a lost connection, "hang" for silence.

    Each list gives the answers of a command one by one; after its end the command is taken.
    """

    rset: list[str] = field(default_factory=list)
    mail: list[str] = field(default_factory=list)
    rcpt: list[str] = field(default_factory=list)
    data: list[str] = field(default_factory=list)
    "After the final dot. The message of a dropped or unanswered one is kept: it has arrived."
    auth: list[bool] = field(default_factory=list)
    smtputf8: bool = True
    tls: ssl.SSLContext | None = None
    implicit_tls: bool = False
    require_auth: bool = False
    envelopes: list[Envelope] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        """Where it is."""
        user = "mailer:secret@" if self.require_auth else ""
        return f"smtp{'s' if self.implicit_tls else ''}://{user}127.0.0.1:{self.port}"

    async def handle_RSET(self, server: SMTP, *_: Any) -> str:  # noqa: N802
        """RSET."""
        return await self._answer("RSET", self.rset, server)

    async def handle_QUIT(self, *_: Any) -> str:  # noqa: N802
        """QUIT."""
        self.asked.append("QUIT")
        return "221 Bye"

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """MAIL FROM."""
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return await self._answer("MAIL", self.mail, server)

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """RCPT TO."""
        reply = await self._answer("RCPT", self.rcpt, server)
        if reply.startswith("2"):
            envelope.rcpt_tos.append(address)
            envelope.rcpt_options.extend(options)
        return reply

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """The end of DATA."""
        if not self.data or not self.data[0].startswith(("4", "5")):
            self.envelopes.append(envelope)
        return await self._answer("DATA", self.data, server)

    def authenticate(self, _server: SMTP, *_: Any) -> AuthResult:
        """AUTH."""
        self.asked.append("AUTH")
        return AuthResult(success=self.auth.pop(0) if self.auth else True, handled=False)

    async def _answer(self, command: str, answers: list[str], server: SMTP) -> str:
        self.asked.append(command)
        answer = answers.pop(0) if answers else "250 OK"
        if answer == "hang":
            await asyncio.Event().wait()
        if answer == "drop":
            _abort(server)
            answer = "421 Gone"
        return answer


@contextlib.asynccontextmanager
async def serving(server: MoodyServer) -> AsyncIterator[MoodyServer]:
    """The server at work, on a port of its own."""
    sessions: list[SMTP] = []

    def session() -> SMTP:
        server.connections += 1
        sessions.append(
            SMTP(
                server,
                hostname="localhost",
                enable_SMTPUTF8=server.smtputf8,
                tls_context=None if server.implicit_tls else server.tls,
                authenticator=server.authenticate if server.require_auth else None,
                auth_required=server.require_auth,
                auth_require_tls=False,
            )
        )
        return sessions[-1]

    listening = await asyncio.get_running_loop().create_server(
        session, "127.0.0.1", server.port, ssl=server.tls if server.implicit_tls else None
    )
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for one in sessions:
            _abort(one)


def _abort(session: SMTP) -> None:
    if session.transport is not None:
        cast(asyncio.Transport, session.transport).abort()
