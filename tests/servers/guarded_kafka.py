"""A Kafka of one test's own that lets nobody do what deploy/kafka does not grant."""

import argparse
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.admin import CreateAclsRequest
from pydantic import SecretStr

from embedded.kafka import Kafka
from embedded.ports import HOST, Ports
from schemas.settings import Settings

FOLDER = Path(__file__).parents[2] / "deploy" / "kafka"
PASSWORD = "password-of-"
"Before the name of whoever it is of."

# org.apache.kafka.common.acl.AclOperation and AclPermissionType, resource.ResourceType and PatternType
OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10}
ALLOW = 3
TOPIC, GROUP, CLUSTER = 2, 3, 4
PATTERNS = {"literal": 3, "prefixed": 4}

# Over deploy/kafka/broker.properties: there is one broker. Brokers and controllers come without a name here.
SETTINGS = """
listeners=BROKER://{host}:{port},CONTROLLER://{host}:{controller_port},CLIENT://{host}:{client_port}
advertised.listeners=BROKER://{host}:{port},CLIENT://{host}:{client_port}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,CLIENT:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.client.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required {users};
super.users=User:ANONYMOUS
offsets.topic.replication.factor=1
"""


@dataclass(frozen=True)
class GuardedKafka:
    """Where its clients connect."""

    bootstrap_servers: str

    def as_principal(self, settings: Settings, name: str) -> Settings:
        """The settings of a client that logs in under this name."""
        return settings.model_copy(
            update={
                "topic_prefix": "",
                "kafka_bootstrap_servers": self.bootstrap_servers,
                "kafka_security_protocol": "SASL_PLAINTEXT",
                "kafka_sasl_mechanism": "PLAIN",
                "kafka_sasl_username": name,
                "kafka_sasl_password": SecretStr(PASSWORD + name),
            }
        )


@asynccontextmanager
async def guarded_kafka(folder: Path) -> AsyncIterator[GuardedKafka]:
    """Runs during the block, with the settings of broker.properties and the rights of acls.txt.

    Args:
        folder: keeps its data and its log.
    """
    ports = Ports(folder)
    port, controller_port, client_port = (ports.take(name) for name in ("kafka", "kafka_controller", "client"))
    grants = list(_grants((FOLDER / "acls.txt").read_text()))
    names = {grant.principal.removeprefix("User:") for grant in grants}
    users = " ".join(f'user_{name}="{PASSWORD}{name}"' for name in sorted(names))
    settings = (FOLDER / "broker.properties").read_text() + SETTINGS.format(
        host=HOST, port=port, controller_port=controller_port, client_port=client_port, users=users
    )
    kafka = Kafka(folder, folder, ports, print, settings=settings)
    child = await kafka.start()
    try:
        await _grant(kafka.bootstrap_servers, grants)
        yield GuardedKafka(f"{HOST}:{client_port}")
    finally:
        await child.stop()


def arguments(text: str) -> Iterator[list[str]]:
    """The arguments of the lines of a file of deploy/kafka, as `xargs -L 1` hands them on."""
    for line in text.splitlines():
        if line.startswith("--"):
            yield line.split()


@dataclass(frozen=True)
class _Grant:
    principal: str
    operation: int
    resource: int
    name: str
    pattern: int


def _grants(text: str) -> Iterator[_Grant]:
    """What `kafka-acls.sh --add` makes of the lines: each operation on each resource."""
    parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--allow-principal", required=True)
    parser.add_argument("--operation", action="append", required=True, choices=OPERATIONS)
    parser.add_argument("--topic", action="append", default=[])
    parser.add_argument("--group", action="append", default=[])
    parser.add_argument("--cluster", action="append_const", const="kafka-cluster", default=[])
    parser.add_argument("--resource-pattern-type", choices=PATTERNS, default="literal")
    for line in arguments(text):
        said = parser.parse_args(line)
        resources = [(TOPIC, said.topic), (GROUP, said.group), (CLUSTER, said.cluster)]
        for operation, (resource, names) in itertools.product(said.operation, resources):
            for name in names:
                pattern = PATTERNS[said.resource_pattern_type]
                yield _Grant(said.allow_principal, OPERATIONS[operation], resource, name, pattern)


async def _grant(bootstrap_servers: str, grants: list[_Grant]) -> None:
    client = AIOKafkaClient(bootstrap_servers=bootstrap_servers)
    await client.bootstrap()
    try:
        for grant in grants:
            request = CreateAclsRequest(
                grant.resource, grant.name, grant.pattern, grant.principal, "*", grant.operation, ALLOW
            )
            response = await client.send(client.get_random_node(), request)
            ((code, message),) = response.creation_responses
            assert code == 0, f"{grant}: {message}"
    finally:
        await client.close()
