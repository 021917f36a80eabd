"""Servers as Docker containers, on loopback ports that they keep over a restart.

Plain `DockerContainer`s where testcontainers' own classes do not fit: its Kafka knows Confluent's images only, and
its Mailpit offers STARTTLS with a certificate of its own, which the other choices of servers do not.
"""

import asyncio
import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import asyncpg
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

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
    import docker
    from docker.errors import DockerException, ImageNotFound

    try:
        with contextlib.closing(docker.from_env(timeout=5)) as client:
            for image in IMAGES.values():
                client.images.get(image)
    except ImageNotFound:
        return f"the Docker engine lacks one of {', '.join(IMAGES.values())}"
    except DockerException:
        return "no Docker engine answers"
    return None


@contextlib.contextmanager
def container_servers(folder: Path) -> Iterator[Servers]:
    """Kafka, PostgreSQL and Mailpit as containers, which are removed at the end, however this process ends."""
    ports = Ports(folder)
    password = secrets.token_hex(8)
    with reaper.removing() as label, contextlib.ExitStack() as exits:
        containers = ContainerControl(
            {name: container(label, name) for name, container in _containers(ports, password).items()}
        )
        exits.callback(containers.remove)
        run_alone(containers.create())
        yield Servers(
            kafka_bootstrap_servers=containers.kafka,
            database_admin_url=containers.database_url,
            smtp_url=containers.smtp_url,
            mails=Mailpit(containers.mailpit_url),
            control=containers,
        )
