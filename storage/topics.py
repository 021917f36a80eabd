"""Creates the topics of the contract, and checks those that are there."""

import asyncio
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from schemas.settings import Settings
from schemas.topics import Topic, topics
from storage.errors import TopicMissing, WalletqError
from storage.kafka import admin_client

ASKED_AGAIN, ASKED_AGAIN_SECONDS = 12, 0.25
"So often, and so long apart, a broker is asked for a topic that it does not know."


async def create_topics(settings: Settings) -> list[str]:
    """Create the topics that are missing, and wait until every partition has a leader.

    Safe when two start at once. What exists is left as it is: `check_topics` says how it differs.

    Returns:
        the names of the topics that were created.

    Raises:
        ServerUnreachable: Kafka does not answer.
        WalletqError: the broker refuses a topic.
    """
    async with admin_client(settings) as admin:
        copies = settings.replication_factor or (3 if len(await _brokers(admin)) >= 3 else 1)
        created = await _create(admin, topics(settings), copies)
        await _wait_for_leaders(admin, [topic.name for topic in topics(settings)])
        return created


async def check_topics(settings: Settings) -> list[str]:
    """What is wrong with the topics, a sentence each; nothing where they are as the contract says.

    Raises:
        ServerUnreachable: Kafka does not answer.
    """
    async with admin_client(settings) as admin:
        found = {topic["topic"]: topic for topic in await _describe(admin)}
        problems = []
        brokers = len(await _brokers(admin))
        for topic in topics(settings):
            if topic.name not in found:
                problems.append(f"{topic.name}: does not exist; run `walletq topics create`")
                continue
            problems += _check_partitions(topic, found[topic.name]["partitions"], brokers)
            problems += _check_settings(topic, await _settings_of(admin, topic.name), brokers)
        problems += await _check_auto_creation(admin)
        return problems


async def find_topics(settings: Settings, *wanted: str) -> dict[str, int]:
    """How many partitions each of these topics has. A broker that has just come back may not know them yet: it is
    asked again for a while.

    Raises:
        ServerUnreachable: Kafka does not answer.
        TopicMissing: there is no such topic.
    """
    async with admin_client(settings) as admin:
        asked = 0
        while True:
            found = {topic["topic"]: len(topic["partitions"]) for topic in await _describe(admin)}
            missing = [topic for topic in wanted if not found.get(topic)]
            if not missing:
                return {topic: found[topic] for topic in wanted}
            if asked == ASKED_AGAIN:
                raise TopicMissing(missing[0])
            asked += 1
            await asyncio.sleep(ASKED_AGAIN_SECONDS)


async def cluster_id(settings: Settings) -> str:
    """The id of the Kafka cluster: offsets mean something only together with it.

    Raises:
        ServerUnreachable: Kafka does not answer.
    """
    async with admin_client(settings) as admin:
        return str((await admin.describe_cluster())["cluster_id"])


async def _create(admin: AIOKafkaAdminClient, wanted: list[Topic], copies: int) -> list[str]:
    """The names of those that were not there yet. One request: each is a round trip through the controller's log."""
    settings = {"min.insync.replicas": "2"} if copies >= 3 else {}
    new = [NewTopic(topic.name, topic.partitions, copies, topic_configs=topic.settings | settings) for topic in wanted]
    response = await admin.create_topics(new, timeout_ms=10_000)
    created = []
    for name, code, message in response.topic_errors:
        if code == 0:
            created.append(name)
        elif code != TopicAlreadyExistsError.errno:
            raise WalletqError(f"Kafka refuses the topic {name}: {message or for_code(code).__name__}")
    return created


async def _wait_for_leaders(admin: AIOKafkaAdminClient, wanted: list[str]) -> None:
    """A topic is usable some moments after its creation."""
    async with asyncio.timeout(30):
        while True:
            found = {topic["topic"]: topic for topic in await _describe(admin)}
            if all(
                name in found and all(partition["leader"] >= 0 for partition in found[name]["partitions"])
                for name in wanted
            ):
                return
            await asyncio.sleep(0.05)


async def _describe(admin: AIOKafkaAdminClient) -> list[dict[str, Any]]:
    described: list[dict[str, Any]] = await admin.describe_topics()
    return [topic for topic in described if topic["error_code"] != UnknownTopicOrPartitionError.errno]


async def _brokers(admin: AIOKafkaAdminClient) -> list[Any]:
    brokers: list[Any] = (await admin.describe_cluster())["brokers"]
    return brokers


async def _settings_of(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    return _values(await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)]))


def _values(responses: list[Any]) -> dict[str, str]:
    return {entry[0]: entry[1] for response in responses for resource in response.resources for entry in resource[4]}


def _check_partitions(topic: Topic, partitions: list[dict[str, Any]], brokers: int) -> list[str]:
    problems = []
    if len(partitions) != topic.partitions:
        problems.append(f"{topic.name}: has {len(partitions)} partitions, expected {topic.partitions}")
    copies = min(len(partition["replicas"]) for partition in partitions)
    if brokers >= 3 and copies < 3:
        problems.append(f"{topic.name}: has {copies} replicas on {brokers} brokers, expected 3")
    return problems


def _check_settings(topic: Topic, found: dict[str, str], brokers: int) -> list[str]:
    wanted = topic.settings | ({"min.insync.replicas": "2"} if brokers >= 3 else {})
    return [
        f"{topic.name}: {name} is {found.get(name)}, expected {value}"
        for name, value in wanted.items()
        if found.get(name) != value
    ]


async def _check_auto_creation(admin: AIOKafkaAdminClient) -> list[str]:
    name = "auto.create.topics.enable"
    try:
        broker = (await _brokers(admin))[0]["node_id"]
        responses = await admin.describe_configs([ConfigResource(ConfigResourceType.BROKER, str(broker), {name: None})])
    except KafkaError as error:
        return [f"broker: {name} cannot be read: {error}"]
    values = _values(responses)
    return [] if values.get(name) == "false" else [f"broker: {name} is {values.get(name)}, expected false"]
