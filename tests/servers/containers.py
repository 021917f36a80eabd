"""Servers as Docker containers, on loopback ports that they keep over a restart.

Plain `DockerContainer`s: testcontainers' own Kafka knows Confluent's images only, its Mailpit offers STARTTLS with a
certificate that nobody trusts, and none of them waits for a server that comes back after a fault.
"""

import asyncio
import contextlib
import os
import secrets
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import asyncpg

from embedded.kafka import lists_itself
from embedded.ports import HOST, Ports
from tests.servers import reaper
from tests.servers.embedded import run_alone
from tests.servers.inbox import Mailpit
from tests.servers.servers import Name, Servers
from tests.servers.wait import until

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

IMAGES: dict[Name, str] = {
    "kafka": "apache/kafka:4.4.0",
    "postgres": "postgres:18",
    "inbox": "axllent/mailpit:v1",
}
START_SECONDS = 60
# length, api key, version, correlation id, and no client id
API_VERSIONS_REQUEST = struct.pack(">ihhih", 10, 18, 0, 1, -1)

Serves = Callable[[], Awaitable[bool]]
"Asks a server whether it serves."

KAFKA = {
    "KAFKA_NODE_ID": "1",
    "KAFKA_PROCESS_ROLES": "broker,controller",
    "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9094",
    "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
    "KAFKA_INTER_BROKER_LISTENER_NAME": "INTERNAL",
    "KAFKA_LISTENERS": "HOST://:9092,INTERNAL://:9093,CONTROLLER://:9094",
    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "HOST:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "1",
    "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS": "1",
    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR": "1",
    # After a kill the broker is let in again only when the session of its last life has run out: 9 s by default.
    "KAFKA_BROKER_SESSION_TIMEOUT_MS": "2000",
    "KAFKA_BROKER_HEARTBEAT_INTERVAL_MS": "500",
    "KAFKA_HEAP_OPTS": "-Xmx512m",
}


def why_not() -> str | None:
    """Why the tests cannot use containers; None where they can."""
    import docker  # type: ignore[import-untyped]
    from docker.errors import DockerException, ImageNotFound  # type: ignore[import-untyped]

    try:
        with contextlib.closing(docker.from_env(timeout=5)) as client:
            for image in IMAGES.values():
                client.images.get(image)
    except ImageNotFound:
        return f"the Docker engine lacks one of {', '.join(IMAGES.values())}"
    except (DockerException, OSError):
        return "no Docker engine answers"
    return None


@contextlib.contextmanager
def container_servers(folder: Path) -> Iterator[Servers]:
    """Kafka, PostgreSQL and Mailpit as containers, which are removed at the end, however this process ends.

    Args:
        folder: keeps the ports.
    """
    ports = Ports(folder)
    kafka, postgres, smtp, mailpit = (ports.take(name) for name in ("kafka", "postgres", "smtp", "mailpit"))
    password = secrets.token_hex(8)
    admin_url = f"postgresql://postgres:{password}@{HOST}:{postgres}/postgres"
    serves: dict[Name, Serves] = {
        "kafka": lambda: kafka_serves(f"{HOST}:{kafka}"),
        "postgres": lambda: postgres_serves(admin_url),
        "inbox": lambda: mailpit_serves(smtp, f"http://{HOST}:{mailpit}"),
    }
    with reaper.removing() as label:
        made: dict[Name, DockerContainer] = {
            "kafka": _container(
                "kafka",
                label,
                {9092: kafka},
                KAFKA | {"KAFKA_ADVERTISED_LISTENERS": f"HOST://{HOST}:{kafka},INTERNAL://localhost:9093"},
            ),
            "postgres": _container(
                "postgres", label, {5432: postgres}, {"POSTGRES_PASSWORD": password}, "postgres -c max_connections=200"
            ),
            "inbox": _container("inbox", label, {1025: smtp, 8025: mailpit}, {"MP_MAX_MESSAGES": "0"}),
        }
        containers = Containers(made, serves)
        try:
            run_alone(containers.create())
            yield Servers(
                kafka_bootstrap_servers=f"{HOST}:{kafka}",
                database_admin_url=admin_url,
                smtp_url=f"smtp://{HOST}:{smtp}",
                mails=Mailpit(f"http://{HOST}:{mailpit}"),
                control=containers,
            )
        finally:
            containers.remove()


class Containers:
    """The containers, and faults for them."""

    def __init__(self, containers: Mapping[Name, "DockerContainer"], serves: Mapping[Name, "Serves"]) -> None:
        self._containers = containers
        self._serves = serves

    async def create(self) -> None:
        """Create and start all at once, and wait until they serve."""
        await asyncio.gather(*(asyncio.to_thread(one.start) for one in self._containers.values()))
        await asyncio.gather(*(self._wait(name) for name in self._containers))

    def remove(self) -> None:
        """Remove all, with their volumes."""
        for container in self._containers.values():
            container.stop()

    async def kill(self, name: Name) -> None:
        """See Control: SIGKILL for every process of the container."""
        await asyncio.to_thread(self._docker(name).kill)
        await asyncio.to_thread(self._docker(name).wait)

    async def start(self, name: Name) -> None:
        """See Control."""
        await asyncio.to_thread(self._docker(name).start)
        await self._wait(name)

    async def pause(self, name: Name) -> None:
        """See Control."""
        await asyncio.to_thread(self._docker(name).pause)

    async def unpause(self, name: Name) -> None:
        """See Control."""
        await asyncio.to_thread(self._docker(name).unpause)

    def _docker(self, name: Name) -> Any:
        return self._containers[name].get_wrapped_container()

    async def _wait(self, name: Name) -> None:
        try:
            await until(self._serves[name], START_SECONDS, f"the container of {name} to serve")
        except AssertionError as error:
            error.add_note(self._docker(name).logs(tail=30).decode(errors="replace"))
            raise


def _container(
    name: Name, label: str, ports: dict[int, int], environ: dict[str, str], command: str | None = None
) -> "DockerContainer":
    # Read when testcontainers is imported: there may be no image of its reaper, and ours does the same.
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    os.environ.setdefault("TESTCONTAINERS_CONNECTION_MODE", "docker_host")
    os.environ.setdefault("TC_POOLING_INTERVAL", "0.1")
    from testcontainers.core.container import DockerContainer

    container = DockerContainer(IMAGES[name], command=command, env=environ, labels={reaper.LABEL: label})
    # with_bind_ports would publish to the whole network; an unbound port would be another one after a restart.
    container.ports = {str(inside): (HOST, outside) for inside, outside in ports.items()}  # type: ignore[misc]
    return container


async def kafka_serves(bootstrap_servers: str) -> bool:
    """Whether the broker lists itself: from then on topics can be created."""
    # Without an answer the client would log an error each time.
    return await _answers(bootstrap_servers) and await lists_itself(bootstrap_servers)


async def _answers(address: str) -> bool:
    """Whether Kafka answers the smallest of its requests; Docker accepts connections before anybody listens."""
    try:
        reader, writer = await asyncio.open_connection(*address.split(":"))
        try:
            writer.write(API_VERSIONS_REQUEST)
            return bool(await reader.read(4))
        finally:
            writer.close()
    except OSError:
        return False


async def postgres_serves(url: str) -> bool:
    """Whether it takes connections."""
    try:
        connection = await asyncpg.connect(url, timeout=2)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    await connection.close()
    return True


async def mailpit_serves(smtp: int, url: str) -> bool:
    """Whether it greets, and says that it is ready."""

    def ready() -> bool:
        try:
            with urlopen(url + "/readyz", timeout=2) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    try:
        reader, writer = await asyncio.open_connection(HOST, smtp)
        greeting = await reader.readline()
        writer.close()
    except OSError:
        return False
    return greeting.startswith(b"220") and await asyncio.to_thread(ready)
