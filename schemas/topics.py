"""The topics of the contract: names, partitions, settings."""

from dataclasses import dataclass

from schemas.settings import Settings

PARTITIONS = 12
"Fixed for ever: adding partitions moves keys and would split a queue."

ALLOCATOR_GROUP = "walletq-allocator"
MAILER_GROUP = "walletq-mailer"

# The pattern of the headers is that of Kafka Connect's and Kafka Streams' dead letter queues.
HEADER_REASON = "__walletq.errors.reason"
HEADER_MESSAGE = "__walletq.errors.message"
HEADER_TOPIC = "__walletq.errors.topic"
HEADER_PARTITION = "__walletq.errors.partition"
HEADER_OFFSET = "__walletq.errors.offset"
HEADER_TIMESTAMP = "__walletq.errors.timestamp"
HEADER_LENGTH = "__walletq.errors.value.length"
HEADER_SHA256 = "__walletq.errors.value.sha256"
HEADER_REPLAY_OF = "__walletq.replay.of"
"On an event that was replayed from a dead letter: topic/partition/offset of the record that was refused."
HEADER_REPLAY_BY = "__walletq.replay.by"
MAX_KEPT_BYTES = 256 * 1024
"A dead letter carries the record's key and value up to this size; of a larger value its length and SHA-256."


@dataclass(frozen=True)
class Topic:
    """A topic as it must be."""

    name: str
    partitions: int
    settings: dict[str, str]


@dataclass(frozen=True)
class Names:
    """The names of topics and groups, with the prefix that WALLETQ_TOPIC_PREFIX puts before each."""

    prefix: str = ""

    @property
    def orders(self) -> str:
        return self.prefix + "order-status"

    @property
    def notifications(self) -> str:
        return self.prefix + "wallet-notifications"

    @property
    def allocator_group(self) -> str:
        return self.prefix + ALLOCATOR_GROUP

    @property
    def mailer_group(self) -> str:
        return self.prefix + MAILER_GROUP

    @staticmethod
    def dead_letters(topic: str) -> str:
        """Where the records of `topic` go that are refused."""
        return topic + ".dead-letters"


def names(settings: Settings) -> Names:
    """The names under these settings."""
    return Names(settings.topic_prefix)


def topics(settings: Settings) -> list[Topic]:
    """The four topics of the contract."""
    kept = {"cleanup.policy": "delete", "retention.ms": str(settings.retention_ms)}
    of = names(settings)
    return [
        Topic(
            of.orders,
            PARTITIONS,
            # LogAppendTime: time is the broker's. uncompressed: the broker unpacks, and refuses a bomb at produce.
            kept | {"message.timestamp.type": "LogAppendTime", "compression.type": "uncompressed"},
        ),
        Topic(of.notifications, PARTITIONS, kept),
        Topic(of.dead_letters(of.orders), 1, kept),
        Topic(of.dead_letters(of.notifications), 1, kept),
    ]
