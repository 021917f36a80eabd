"""The publisher: events go out keyed by their currency, and are acknowledged by every replica before it returns.

async with Publisher(settings) as publisher:
    place = await publisher.publish(event)
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, NamedTuple, Self

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError, UnknownTopicOrPartitionError

from schemas.events import (
    Event,
    InvalidEvent,
    OrderStatusChanged,
    WalletAdded,
    WalletCooled,
    WalletRetired,
    encode_event,
    parse_event,
)
from schemas.settings import Settings
from schemas.topics import names
from schemas.trace import is_traceparent
from storage.errors import TopicMissing, WalletqError
from storage.kafka import client_options, started, stop, unreachable
from storage.topics import find_topics

log = structlog.get_logger(__name__)

BATCH_BYTES = 256 * 1024
START_SECONDS = 10.0


class Place(NamedTuple):
    """Where an event is in `order-status`."""

    partition: int
    offset: int


class Publisher:
    """Publishes events; an async context manager. Use one for the life of a process."""

    def __init__(self, settings: Settings, *, timeout_seconds: float = 30.0) -> None:
        """Nothing connects yet.

        Args:
            settings: where Kafka is, and the topics' prefix.
            timeout_seconds: how long `publish` and `publish_many` wait for the acknowledgement of an event.
        """
        self.topic = names(settings).orders
        self._settings = settings
        self._timeout_seconds = timeout_seconds

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            ServerUnreachable: Kafka does not answer.
            TopicMissing: the topic does not exist.
        """
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        async with self._explained(START_SECONDS):
            await self._started()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect. What was returned as published is; for the rest nobody waits long."""
        if self._producer is not None:
            await stop(self._producer)

    async def publish(
        self, event: Event, *, traceparent: str | None = None, headers: Mapping[str, str] | None = None
    ) -> Place:
        """Publish an event, and wait until every in-sync replica has it.

        Args:
            event: one of the models of `schemas.events`.
            traceparent: the W3C trace context, passed on as a header.
            headers: further ones; no consumer of ours reads them.

        Raises:
            InvalidEvent: a consumer would refuse it. Nothing was sent.
            ServerUnreachable: no acknowledgement came. The event may be on the topic: publish the same one again,
                a duplicate has no effect.
        """
        return (await self.publish_many([event], traceparent=traceparent, headers=headers))[0]

    async def publish_many(
        self, events: Iterable[Event], *, traceparent: str | None = None, headers: Mapping[str, str] | None = None
    ) -> list[Place]:
        """Publish events in batches, those of a currency in the order given, and wait for all of them.

        All are checked before the first is sent. Raises as `publish`.
        """
        records = [(event.currency.encode(), _encode(event)) for event in events]
        texts = ({"traceparent": _checked(traceparent)} if traceparent else {}) | dict(headers or {})
        encoded = [(name, text.encode()) for name, text in texts.items()]
        async with self._explained(self._timeout_seconds) as deadline:
            places = await self._send(records, encoded, deadline)
        log.debug("events_published", topic=self.topic, events=len(places))
        return places

    async def _send(
        self, records: list[tuple[bytes, bytes]], headers: list[tuple[str, bytes]], deadline: asyncio.Timeout
    ) -> list[Place]:
        producer = await self._started()
        clock = asyncio.get_running_loop().time
        sent: list[asyncio.Future[Any]] = []
        places = []
        try:
            for key, value in records:
                sent.append(await producer.send(self.topic, key=key, value=value, headers=headers))
                # The limit is for one event, not for all of them: as long as some get through it goes on.
                deadline.reschedule(clock() + self._timeout_seconds)
            for acknowledgement in sent:
                metadata = await acknowledgement
                places.append(Place(metadata.partition, metadata.offset))
                deadline.reschedule(clock() + self._timeout_seconds)
            return places
        except BaseException:
            for acknowledgement in sent:
                acknowledgement.add_done_callback(_reported_already)
            # After a failure a producer's sequence may have a hole: the next event begins with a new producer.
            if self._producer is producer:
                self._producer = None
                await asyncio.shield(stop(producer))
            raise

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                # The topic first: a producer would wait for one that does not exist until its time is over.
                await find_topics(self._settings, self.topic)
                self._producer = await started(
                    AIOKafkaProducer(
                        **client_options(self._settings),
                        enable_idempotence=True,
                        acks="all",
                        max_batch_size=BATCH_BYTES,
                    )
                )
            return self._producer

    @asynccontextmanager
    async def _explained(self, seconds: float) -> AsyncIterator[asyncio.Timeout]:
        """A time limit, and Kafka's errors as ours."""
        try:
            async with asyncio.timeout(seconds) as deadline:
                yield deadline
        except UnknownTopicOrPartitionError as error:
            raise TopicMissing(self.topic) from error
        except KafkaError as error:
            # What can be retried has been retried for as long as there was time; a connection has no such mark.
            if error.retriable or isinstance(error, KafkaConnectionError):
                raise unreachable(self._settings, error) from error
            raise WalletqError(f"Kafka refuses to take events on {self.topic}: {error}") from error
        except (OSError, asyncio.TimeoutError) as error:
            raise unreachable(self._settings, error) from error


def _reported_already(acknowledgement: asyncio.Future[Any]) -> None:
    """asyncio would complain of an exception that nobody has asked for."""
    if not acknowledgement.cancelled():
        acknowledgement.exception()


def _encode(event: Event) -> bytes:
    """The event's bytes, which a consumer is sure to take."""
    if not isinstance(event, OrderStatusChanged | WalletAdded | WalletRetired | WalletCooled):
        raise TypeError(f"expected an event of schemas.events, found {type(event).__name__}")
    value = encode_event(event)
    # Whatever was done to the event since it was validated: what counts is what a consumer reads.
    if dropped := parse_event(value).dropped_fields:
        raise InvalidEvent(f"{dropped} of its fields are invalid")
    return value


def _checked(traceparent: str) -> str:
    """Raises ValueError: not a W3C trace context of version 00 or later."""
    if not is_traceparent(traceparent.encode()):
        raise ValueError("traceparent: expected VERSION-TRACE-PARENT-FLAGS in lower-case hexadecimal digits")
    return traceparent
