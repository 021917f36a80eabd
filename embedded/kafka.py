"""Apache Kafka as one process: broker and controller, KRaft, on loopback."""

import asyncio
import base64
import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from embedded.child import Child
from embedded.jars import Report
from embedded.jvm import Jvm, kafka_jvm
from embedded.locks import earlier_life_over
from embedded.ports import HOST, Ports
from embedded.readiness import until_serving

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
controller.listener.names=CONTROLLER
listeners=BROKER://{host}:{port},CONTROLLER://{host}:{controller_port}{listener}
advertised.listeners=BROKER://{host}:{port}{advertised}
inter.broker.listener.name=BROKER
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# After kill -9 the broker is let in again only when the session of its last life has run out: 9 s by default.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
# The cleaner allocates this at the start; the default of 128 MB takes a quarter of a second.
log.cleaner.dedupe.buffer.size=4194304
"""


class Proxied(NamedTuple):
    """A second listener: who comes through it is told to come back through the proxy."""

    port: int
    "Where Kafka listens."
    proxy_port: int
    "Where the proxy is to listen; nobody does, unless its user starts one."


class Kafka:
    """The Kafka of one folder."""

    name = "kafka"
    stop_seconds = 5.0

    def __init__(
        self,
        folder: Path,
        logs: Path,
        ports: Ports,
        report: Report,
        *,
        fast_start: bool = True,
        flags: Sequence[str] = (),
        with_proxy: bool = False,
        settings: str = "",
    ) -> None:
        """Say what is wanted; nothing starts yet.

        Args:
            folder: keeps the data.
            logs: the folder of its log.
            ports: of the folder.
            report: is told what takes long, a line at a time.
            fast_start: start faster, run slower.
            flags: for the Java runtime.
            with_proxy: have a second listener, behind a proxy that the caller may start.
            settings: further lines of its configuration, which win.
        """
        self._folder = folder
        self._data = folder / "data"
        self._log = logs / "kafka.log"
        self._ports = ports
        self._report = report
        self._fast_start = fast_start
        self._flags = flags
        self._with_proxy = with_proxy
        self._settings = settings
        self._port: int | None = None
        self.proxied: Proxied | None = None

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect."""
        return f"{HOST}:{self._port}"

    async def start(self) -> Child:
        """Start it and wait until it serves; format its folder where that is new."""
        jvm = await kafka_jvm(self._report)
        lock = await earlier_life_over(self._folder, self.name)
        try:
            return await self._start(jvm, lock)
        finally:
            os.close(lock)

    async def _start(self, jvm: Jvm, lock: int) -> Child:
        if self._port is None:
            self._port = self._ports.take("kafka")
            self._controller_port = self._ports.take("kafka_controller")
            if self._with_proxy:
                self.proxied = Proxied(self._ports.take("kafka_proxied"), self._ports.take("kafka_proxy"))
        if not self._data.exists():
            await self._format(jvm, lock)
        properties = str(self._properties(self._data))
        command = jvm.command("kafka.Kafka", properties, fast_start=self._fast_start, flags=self._flags)
        child = self._run(command, lock)
        return await until_serving(child, self._serves)

    async def _format(self, jvm: Jvm, lock: int) -> None:
        """Make the data folder under another name first, so that an interrupted format is never taken for one."""
        new = self._folder / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        properties = str(self._properties(new))
        arguments = ("format", "--cluster-id", _cluster_id(), "--config", properties)
        child = self._run(jvm.command("kafka.tools.StorageTool", *arguments), lock)
        try:
            if await child.wait() != 0:
                raise child.stopped("could not format its folder")
        finally:
            await child.kill()
        os.replace(new, self._data)

    def _properties(self, data: Path) -> Path:
        path = self._folder / f"{data.name}.properties"
        path.write_text(
            PROPERTIES.format(
                host=HOST,
                port=self._port,
                controller_port=self._controller_port,
                listener=f",PROXIED://{HOST}:{self.proxied.port}" if self.proxied else "",
                advertised=f",PROXIED://{HOST}:{self.proxied.proxy_port}" if self.proxied else "",
                data=data,
            )
            + self._settings
        )
        return path

    def _run(self, command: Sequence[str | Path], lock: int) -> Child:
        return Child(self.name, command, log=self._log, lock=os.dup(lock), folder=self._folder)

    async def _serves(self) -> bool:
        """Whether the broker lists itself: from then on topics can be created."""
        return await self._accepts() and await lists_itself(self.bootstrap_servers)

    async def _accepts(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(HOST, self._port)
        except OSError:
            return False
        writer.close()
        return True


async def lists_itself(bootstrap_servers: str) -> bool:
    """Whether the broker at this address does."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=2_000)
    try:
        await client.bootstrap()
        return bool(client.cluster.brokers())
    except (KafkaError, OSError):
        return False
    finally:
        await client.close()


def _cluster_id() -> str:
    """A random cluster id, as Kafka writes them; a leading dash would be read as an option."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text
