"""The mailer's process: what is wired to what."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from datetime import datetime
from typing import TYPE_CHECKING

import asyncpg
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from consumers.errors import MembershipLost
from consumers.group import leave
from consumers.mailer.connections import Connections
from consumers.mailer.dead_letters import DeadLetterPublisher
from consumers.mailer.deliveries import Deliveries
from consumers.mailer.dispatch import Composer, Dispatcher
from consumers.mailer.dkim import read_signer
from consumers.mailer.endings import Dossier
from consumers.mailer.gate import Gate
from consumers.mailer.intake import Intake
from consumers.mailer.letters import (
    Letter,
    Message,
    QueuedLetter,
    UnwritableLetter,
    compose,
    compose_queued,
    read_sender,
)
from consumers.mailer.mail_server import read_mail_server
from consumers.mailer.notices import Changes
from consumers.mailer.patience import patiently
from consumers.mailer.proofreading import read_templates
from consumers.mailer.queue_watch import QueueWatch
from consumers.mailer.terms import Terms
from consumers.mailer.tls import trusting
from consumers.mailer.topic import read_topic
from consumers.member import member
from schemas.catalogue import Catalogue, read_catalogue
from schemas.settings import Settings
from schemas.topics import Names, names
from storage.database import AWAY, BY_INDEX, create_pool
from storage.database import unreachable as database_unreachable
from storage.errors import ServerUnreachable
from storage.kafka import FETCH_BYTES, client_options, connecting
from storage.migrations import check_migrated

if TYPE_CHECKING:
    from consumers.mailer.watching import Watch
    from monitoring.monitor import Monitor

log = structlog.get_logger(__name__)

POOL_SIZE = 6
MAX_POLL_INTERVAL_MS = 24 * 3_600_000
"The database may be away for long; a mailer that waits for it is no dead member."
START_SECONDS = 15.0
CONSUMER_ENDS = (MembershipLost, ServerUnreachable)


async def run_mailer(
    settings: Settings, stop: asyncio.Event, monitor: "Monitor | None" = None, *, terms: Terms | None = None
) -> None:
    """Consume notifications and send their mails until `stop`.

    Args:
        settings: where the servers are, and how the mails are.
        stop: set it, and the mailer finishes what is in flight and leaves its group.
        monitor: is told what happens; None where nobody wants to know.
        terms: the limits by which it works, if not those of the settings.

    Raises:
        ServerUnreachable: Kafka or the database does not answer at the start. Later it is waited for.
        SettingsError: a setting is missing or wrong.
        NotMigrated: the database lacks tables of this version.
        TopicMissing: a topic does not exist.
        LogDoesNotFit: the log and the database are not of the same history.
    """
    topic = names(settings).notifications
    watch = _watching(monitor, topic)
    server, tls = read_mail_server(settings.need_smtp()), trusting(settings.smtp_tls_cafile)
    connections = Connections(server, tls, None if watch is None else watch.phase)
    catalogue = read_catalogue(settings.catalogue)
    letters = composer(settings, catalogue)
    async with (
        _database(settings) as pool,
        member(settings.need_database(), "walletq_mailer", names(settings).mailer_group, settings.member_id) as id_lost,
    ):
        found = await read_topic(settings, topic)
        await read_topic(settings, Names.dead_letters(topic))
        deliveries = Deliveries(pool, topic)
        publisher = DeadLetterPublisher(deliveries, topic, lambda: _producer(settings))
        gate = Gate(time.monotonic)
        dispatcher = Dispatcher(
            deliveries,
            connections,
            gate,
            letters,
            terms or Terms.of(settings, catalogue),
            on_dead_letter=publisher.wake.set,
            watch=watch,
        )

        def on_changes(changes: Changes) -> None:
            if changes.deliveries:
                dispatcher.wake.set()
            if changes.dead_letters:
                publisher.wake.set()
            if watch is not None:
                watch.taken(changes)

        async def consume() -> None:
            async with _consumer(settings) as consumer:
                intake = Intake(consumer, deliveries, found, on_changes)
                with watch.following(consumer, intake, dispatcher, gate) if watch else nullcontext():
                    await intake.run(stop)

        queues = None
        if settings.mail_queued:
            orders = await read_topic(settings, names(settings).orders)
            after = settings.mail_queued_after_seconds
            queues = QueueWatch(deliveries, orders, catalogue.pools(), after, dispatcher.wake.set)
        log.info("mailer_started", topic=topic, member_id=settings.member_id)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(patiently(consume, what="consuming", stop=stop, errors=CONSUMER_ENDS))
                tasks.create_task(dispatcher.run(stop))
                tasks.create_task(publisher.run(stop))
                if queues is not None:
                    tasks.create_task(queues.run(stop))
                tasks.create_task(_wake_at(stop, dispatcher.wake, publisher.wake))
                if id_lost is not None:
                    tasks.create_task(_fail_with(id_lost, stop))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None  # one failure has cancelled the other tasks
        finally:
            await connections.close()
    log.info("mailer_stopped")


def _watching(monitor: "Monitor | None", topic: str) -> "Watch | None":
    if monitor is None:
        return None
    from consumers.mailer.watching import Watch

    return Watch(monitor, topic)


def composer(settings: Settings, catalogue: Catalogue) -> Composer:
    """What writes the mails under these settings.

    Raises:
        SettingsError: WALLETQ_MAIL_FROM is no address, a template has a mistake, or the DKIM key cannot sign.
    """
    sender = read_sender(settings.mail_from)
    templates = read_templates(settings.mail_templates)
    signer = read_signer(settings, sender.domain)

    def write(dossier: Dossier, at: datetime) -> Message:
        message = unsigned(dossier, at)
        return signer.sign(message, at) if signer else message

    def unsigned(dossier: Dossier, at: datetime) -> Message:
        if dossier.network is None or dossier.email is None or dossier.amount is None or dossier.expires_at is None:
            raise UnwritableLetter("recipient, network, amount, expiry: expected all of them")
        currency = catalogue.currencies.get(dossier.currency)
        currency_name = currency.name if currency else dossier.currency
        network = currency.networks.get(dossier.network) if currency else None
        if dossier.kind == "queued":
            if dossier.ahead is None:
                raise UnwritableLetter("place: the order does not wait")
            return compose_queued(
                QueuedLetter(
                    notification_id=dossier.notification_id,
                    recipient=dossier.email,
                    locale=dossier.locale or "en",
                    order_id=dossier.order_id,
                    currency=dossier.currency,
                    currency_name=currency_name,
                    network=dossier.network,
                    amount=dossier.amount,
                    place=dossier.ahead + 1,
                    company=settings.company_name,
                    sender=sender,
                    written_at=at,
                ),
                templates,
            )
        if dossier.address is None:
            raise UnwritableLetter("address: the order has no wallet")
        return compose(
            Letter(
                notification_id=dossier.notification_id,
                recipient=dossier.email,
                locale=dossier.locale or "en",
                order_id=dossier.order_id,
                currency=dossier.currency,
                currency_name=currency_name,
                network=dossier.network,
                address=dossier.address,
                amount=dossier.amount,
                expires_at=dossier.expires_at,
                company=settings.company_name,
                sender=sender,
                written_at=at,
                payment_pattern=network.payment_uri if network else None,
            ),
            templates,
        )

    return write


async def _wake_at(stop: asyncio.Event, *sleepers: asyncio.Event) -> None:
    await stop.wait()
    for sleeper in sleepers:
        sleeper.set()


async def _fail_with(id_lost: asyncio.Task[None], stop: asyncio.Event) -> None:
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([id_lost, stopping], return_when=asyncio.FIRST_COMPLETED)
        if id_lost.done():
            id_lost.result()
    finally:
        stopping.cancel()


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[asyncpg.Pool]:
    url = settings.need_database()
    pool = await create_pool(url, "walletq_mailer", size=POOL_SIZE, application="walletq mail", parameters=BY_INDEX)
    try:
        try:
            async with pool.acquire() as connection:
                await check_migrated(connection)
        except AWAY as error:
            raise database_unreachable(url, error) from error
        yield pool
    finally:
        pool.terminate()


@asynccontextmanager
async def _consumer(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        group_id=names(settings).mailer_group,
        group_instance_id=settings.member_id,
        client_id="walletq-mailer",
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="none",  # the place comes from the database only
        fetch_max_wait_ms=20,  # idle partitions would hold up busy ones
        fetch_max_bytes=FETCH_BYTES,
        max_partition_fetch_bytes=FETCH_BYTES,
        max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
        rebalance_timeout_ms=settings.session_timeout_ms,
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=settings.session_timeout_ms // 5,
    )
    try:
        async with connecting(settings, START_SECONDS):
            await consumer.start()
        yield consumer
    finally:
        await leave(consumer)


def _producer(settings: Settings) -> AIOKafkaProducer:
    return AIOKafkaProducer(**client_options(settings), client_id="walletq-mailer", acks="all")
