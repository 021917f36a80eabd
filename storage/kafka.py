"""How every client of ours connects to Kafka."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from schemas.settings import Settings, SettingsError
from storage.connections import take_closed_transports_for_lost
from storage.errors import ServerUnreachable
from storage.records import take_any_header

# Records on order-status may be as large as the broker takes (1 MiB by default, with its batch's header).
MAX_FETCH_BYTES = 4 * 1024 * 1024
FETCH_BYTES = 1024 * 1024
"""Of one answer, where the process is to stay small: what is fetched ahead, several times over on its way, is a good
part of its memory. A larger batch comes alone, whole (KIP-74)."""
FLUSH_SECONDS = 2.0
START_SECONDS = 10.0


def client_options(settings: Settings) -> dict[str, Any]:
    """The options that producers, consumers and admin clients of aiokafka share.

    Raises:
        SettingsError: no servers are set, or a certificate cannot be read.
    """
    take_any_header()
    take_closed_transports_for_lost()
    options: dict[str, Any] = {
        "bootstrap_servers": settings.need_kafka(),
        "security_protocol": settings.kafka_security_protocol,
        "retry_backoff_ms": 100,
        "request_timeout_ms": 10_000,
        "metadata_max_age_ms": 30_000,
    }
    if "SSL" in settings.kafka_security_protocol:
        options["ssl_context"] = _ssl_context(settings)
    if settings.kafka_sasl_password is not None and "SASL" in settings.kafka_security_protocol:
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = settings.kafka_sasl_username
        options["sasl_plain_password"] = settings.kafka_sasl_password.get_secret_value()
    return options


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ssl_cafile)
        if settings.kafka_ssl_certfile:
            password = settings.kafka_ssl_key_password
            context.load_cert_chain(
                settings.kafka_ssl_certfile,
                settings.kafka_ssl_keyfile,
                password.get_secret_value() if password else None,
            )
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"WALLETQ_KAFKA_SSL_CAFILE, _CERTFILE or _KEYFILE cannot be used: {error.strerror or error}"
        ) from None
    return context


@asynccontextmanager
async def connecting(settings: Settings, seconds: float = START_SECONDS) -> AsyncIterator[None]:
    """What is done in this block connects to Kafka, within so many seconds.

    Raises:
        ServerUnreachable: it does not; names the servers and WALLETQ_KAFKA_BOOTSTRAP_SERVERS.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except (KafkaError, OSError, asyncio.TimeoutError) as error:
        raise unreachable(settings, error) from error


@asynccontextmanager
async def admin_client(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A connected admin client.

    Raises:
        ServerUnreachable: names the servers and WALLETQ_KAFKA_BOOTSTRAP_SERVERS.
    """
    async with connecting(settings):
        admin = await _connected(settings)
    try:
        yield admin
    finally:
        await admin.close()


async def _connected(settings: Settings) -> AIOKafkaAdminClient:
    """An admin client that knows its brokers.

    A broker that starts, or that has stood still, answers before its controller takes it for alive. aiokafka's client
    begins without any broker then, and fails in requests to one.
    """
    while True:
        admin = AIOKafkaAdminClient(**client_options(settings))
        try:
            await admin.start()
        except BaseException:
            await admin.close()
            raise
        if admin._client.cluster.brokers():  # noqa: SLF001 - nothing public tells without a request to one of them
            return admin
        await admin.close()
        await asyncio.sleep(0.1)


@asynccontextmanager
async def outside_consumer(settings: Settings, **options: object) -> AsyncIterator[AIOKafkaConsumer]:
    """A connected consumer of committed records that is in no group; it has no partitions yet.

    Raises:
        ServerUnreachable: names the servers and WALLETQ_KAFKA_BOOTSTRAP_SERVERS.
    """
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="none",
        **options,
    )
    try:
        async with connecting(settings):
            await consumer.start()
            await asyncio.sleep(0)  # a task of its that has not begun yet would make `stop` raise CancelledError
        yield consumer
    finally:
        await consumer.stop()


async def started(producer: AIOKafkaProducer) -> AIOKafkaProducer:
    """The producer, once it is connected; stopped where it cannot be.

    Raises:
        KafkaError: as AIOKafkaProducer.start does.
    """
    try:
        await producer.start()
    except BaseException:
        await stop(producer)
        raise
    return producer


async def stop(producer: AIOKafkaProducer) -> None:
    """Stop a producer, with a bound: aiokafka's own waits for ever for a broker that has gone."""
    with suppress(asyncio.TimeoutError, KafkaError, OSError):
        async with asyncio.timeout(FLUSH_SECONDS):
            await producer.stop()
            return
    with suppress(KafkaError, OSError):
        await producer.client.close()


def unreachable(settings: Settings, error: BaseException) -> ServerUnreachable:
    """`error` as one that names the servers and the setting."""
    reason = str(error) or "it does not answer"
    return ServerUnreachable("Kafka", settings.need_kafka(), "WALLETQ_KAFKA_BOOTSTRAP_SERVERS", reason.rstrip("."))
