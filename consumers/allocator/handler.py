"""The allocator as a process: a member of the consumer group, with one owner for each partition it is given."""

import asyncio
from contextlib import nullcontext
from typing import TYPE_CHECKING

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from consumers.allocator.in_hand import InHand
from consumers.allocator.outbox import Outbox
from consumers.allocator.owner import Owner
from consumers.allocator.session import connecting
from consumers.allocator.source import PartitionSource
from consumers.allocator.store import Store
from consumers.group import leave
from consumers.member import member
from schemas.addresses import preload
from schemas.catalogue import Catalogue, read_catalogue
from schemas.settings import Settings
from schemas.topics import Names, names
from storage.database import connect
from storage.errors import ServerUnreachable
from storage.kafka import FETCH_BYTES, client_options
from storage.migrations import check_migrated
from storage.topics import cluster_id, find_topics
from storage.waiting import pausing, unless

if TYPE_CHECKING:
    from consumers.allocator.watching import Watch
    from monitoring.monitor import Monitor

log = structlog.get_logger(__name__)

GRACE_SECONDS = 3.0
"How long the batches in hand may take to finish when partitions are taken away, or at the stop."
COMMIT_SECONDS = 2.0
LISTEN_SECONDS = 1.0
FETCH_WAIT_MS = 15


async def run_allocator(settings: Settings, stop: asyncio.Event, monitor: "Monitor | None" = None) -> None:
    """Assign wallets until `stop` is set, through outages of the servers.

    Args:
        monitor: is told what happens; None where nobody wants to know.

    Raises:
        SettingsError: a setting is wrong or missing.
        ServerUnreachable, NotMigrated, TopicMissing: the servers are not there, or not prepared, at the start.
        LogDoesNotFit: the log and the database are not of the same history.
        MemberTaken: another live process has the same WALLETQ_MEMBER_ID.
    """
    preloading = asyncio.create_task(asyncio.to_thread(preload))  # at the first wallet it would stop all partitions
    catalogue = read_catalogue(settings.catalogue)
    url = settings.need_database()
    topic_names = names(settings)
    connection = await connect(url, "walletq_allocator", application="walletq allocate")
    try:
        await check_migrated(connection)
    finally:
        await connection.close()
    orders = topic_names.orders
    await find_topics(settings, orders, topic_names.notifications, topic_names.dead_letters(orders))
    outbox = Outbox(client_options(settings), topic_names)
    watch = _watching(monitor, topic_names)
    group = topic_names.allocator_group
    await preloading
    async with member(url, "walletq_allocator", group, settings.member_id) as id_lost:
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type((KafkaError, ServerUnreachable)),
                wait=wait_random_exponential(multiplier=0.1, max=2),
                before_sleep=_tell,
                sleep=pausing(stop),
            ):
                with attempt:
                    cluster = await unless(stop, cluster_id(settings))
                    if cluster is not None:
                        membership = _Membership(settings, topic_names, cluster, catalogue, outbox, watch)
                        await membership.run(stop, id_lost)
        finally:
            await outbox.close()


class _Membership(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """One consumer's life in the group. It ends at the stop, or with an error of the coordination."""

    def __init__(
        self,
        settings: Settings,
        topic_names: Names,
        cluster: str,
        catalogue: Catalogue,
        outbox: Outbox,
        watch: "Watch | None",
    ) -> None:
        self._settings = settings
        self._topic = topic_names.orders
        self._cluster = cluster
        self._catalogue = catalogue
        self._outbox = outbox if watch is None else watch.watched(outbox)
        self._watch = watch
        self._in_hand = InHand()
        self._consumer = AIOKafkaConsumer(
            **client_options(settings),
            group_id=topic_names.allocator_group,
            group_instance_id=settings.member_id,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="none",
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=min(1_000, settings.session_timeout_ms // 3),
            rebalance_timeout_ms=30_000,
            # Being alive is the heartbeat's matter; an owner that waits for the database does not poll.
            max_poll_interval_ms=24 * 3_600_000,
            # aiokafka keeps one fetch per broker in flight: idle partitions must not hold up busy ones, nor those whose
            # records have gathered.
            fetch_max_wait_ms=FETCH_WAIT_MS,
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=FETCH_BYTES,
        )
        self._owners: dict[TopicPartition, Owner] = {}
        self._tasks: dict[TopicPartition, asyncio.Task[None]] = {}
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._leaving = False

    async def run(self, stop: asyncio.Event, id_lost: asyncio.Task[None] | None) -> None:
        """Own what the group gives until `stop` is set.

        Raises:
            KafkaError: this membership is at its end; begin another.
            WalletqError: this process is at its end.
        """
        self._consumer.subscribe([self._topic], listener=self)
        committing = asyncio.create_task(self._commit_now_and_then())
        stopping = asyncio.create_task(stop.wait())
        listening: asyncio.Task[None] | None = None
        ends: list[asyncio.Future[None] | asyncio.Task[bool] | asyncio.Task[None]] = [stopping, self._failed]
        if id_lost is not None:
            ends.append(id_lost)
        try:
            starting = asyncio.create_task(self._consumer.start())
            await asyncio.wait([starting, *ends], return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                listening = asyncio.create_task(self._listen())
                ends.append(listening)
                with self._watch.following(self._consumer, self._owners) if self._watch else nullcontext():
                    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            else:
                starting.cancel()
            for end in ends:
                if end.done():
                    end.result()
        finally:
            stopping.cancel()
            committing.cancel()
            if listening is not None:
                listening.cancel()
            self._leaving = True
            await self._release_all()
            await leave(self._consumer)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """The group is about to share out anew: finish what is in hand."""
        await self._release_all()
        if revoked:
            log.info("partitions_revoked", partitions=sorted(tp.partition for tp in revoked))

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Own these partitions now. Each owner seeks to its place in the database before anything is fetched."""
        for tp in assigned:
            # A position of any kind keeps the fetcher from asking for one; pausing keeps it from using it.
            self._consumer.seek(tp, 0)
            self._consumer.pause(tp)
        if self._leaving:  # aiokafka lets a join that is under way come to its end
            return
        for tp in assigned:
            owner = Owner(
                Store(connecting(self._settings.need_database()), tp.topic, tp.partition, self._catalogue),
                PartitionSource(self._consumer, tp, self._cluster),
                self._outbox,
                self._catalogue,
                batch_records=self._settings.batch_records,
                in_hand=self._in_hand,
                on_applied=None if self._watch is None else self._watch.applied,
            )
            self._owners[tp] = owner
            self._tasks[tp] = asyncio.create_task(owner.run(), name=f"owner of {tp.topic}/{tp.partition}")
            self._tasks[tp].add_done_callback(self._owner_ended)
        log.info("partitions_assigned", partitions=sorted(tp.partition for tp in assigned))

    def _owner_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and not self._failed.done():
            self._failed.set_exception(error)

    async def _release_all(self) -> None:
        """Let the owners finish the batches in hand; abandon what takes too long. An abandoned batch is no loss:
        either its transaction has committed, and the next owner publishes it, or it has not, and is done again."""
        tasks = list(self._tasks.values())
        for owner in self._owners.values():
            owner.stop()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=GRACE_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        await self._commit()
        self._owners.clear()
        self._tasks.clear()

    async def _listen(self) -> None:
        """Hear what the group refuses, and end with it. aiokafka tells of it in answer to a fetch, and joins no more
        before it has; but a member without partitions fetches nothing."""
        nothing = TopicPartition(self._topic, -1)
        while True:
            await self._consumer.getmany(nothing, timeout_ms=0)
            await asyncio.sleep(LISTEN_SECONDS)

    async def _commit_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_SECONDS)
            await self._commit()

    async def _commit(self) -> None:
        """Commit the places to Kafka, for tools that show lag. Nothing of ours reads them."""
        places = {tp: owner.next_offset for tp, owner in self._owners.items() if owner.next_offset is not None}
        if places:
            try:
                async with asyncio.timeout(1):
                    await self._consumer.commit(places)
            except (KafkaError, TimeoutError) as error:
                log.debug("offsets_not_committed", error=type(error).__name__)


def _watching(monitor: "Monitor | None", topic_names: Names) -> "Watch | None":
    if monitor is None:
        return None
    from consumers.allocator.watching import Watch

    return Watch(monitor, topic_names)


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning("membership_lost", attempt=state.attempt_number, error=str(error))
