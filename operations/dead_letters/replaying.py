"""How dead letters go out again, so that no crash loses the link between the refused record and the new one.

1. One session replays at a time (an advisory lock, which ends with it).
2. What an earlier session began and did not finish is looked for in the log: it went out, or it did not.
3. A row says what is about to go out. Its event id is made of the dead letter and the event, so the same again is the
   same row.
4. The event goes out, with the refused record's place in a header.
5. The row says where the event is.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import asyncpg
import orjson

from operations.dead_letters.letters import SQL, Letter, Place
from operations.dead_letters.planning import Going
from operations.kafka_log import KafkaLog
from producers.publisher import Publisher
from schemas.topics import HEADER_REPLAY_BY, HEADER_REPLAY_OF
from storage.errors import WalletqError


class Done(NamedTuple):
    """A dead letter that has gone out, and where its event is."""

    going: Going
    place: Place


@dataclass
class ReplayUnderWay(WalletqError):
    """Two would replay the same dead letter twice."""

    def __str__(self) -> str:
        return "another session replays dead letters at this moment. Try again when it has ended."


async def hold_replaying(connection: asyncpg.Connection) -> None:
    """Be the only session that replays, until this one ends. Raises ReplayUnderWay."""
    if not await connection.fetchval(SQL["hold_replaying"]):
        raise ReplayUnderWay


async def finish_begun(connection: asyncpg.Connection, log: KafkaLog, topic: str, letters: Sequence[Letter]) -> None:
    """Note of begun replays that they went out, where they did."""
    begun = {replay.event_id: replay for letter in letters for replay in letter.unfinished}
    begins, ends = await log.beginnings(topic), await log.ends(topic)
    starts: dict[int, int] = {}
    for replay in begun.values():
        partition = replay.target_partition
        starts[partition] = max(begins[partition], min(replay.log_end, starts.get(partition, replay.log_end)))
    async for records in log.read(topic, starts, {partition: ends[partition] for partition in starts}):
        for record in records:
            if HEADER_REPLAY_OF not in dict(record.headers):
                continue
            event_id = _event_id(record.value)
            if event_id in begun:
                await connection.execute(SQL["note_replayed"], event_id, record.offset)


async def put_onto_topic(
    connection: asyncpg.Connection,
    log: KafkaLog,
    publisher: Publisher,
    going: Sequence[Going],
    *,
    actor: str,
    report: Callable[[Done], None],
) -> None:
    """Replay, one after the other; `report` is told of each that is done.

    Raises:
        ServerUnreachable: it is not known whether the one in hand went out. The same command finds out.
    """
    ends = await log.ends(publisher.topic)
    for one in going:
        letter, event = one.prepared.letter, one.prepared.event
        edits = orjson.dumps([asdict(edit) for edit in one.prepared.edits]).decode()
        target = (one.target_partition, ends[one.target_partition])
        await connection.execute(SQL["begin_replay"], one.prepared.event_id, *letter.place, actor, edits, *target)
        headers = {HEADER_REPLAY_OF: str(letter.place), HEADER_REPLAY_BY: actor}
        place = await publisher.publish(event, traceparent=letter.traceparent, headers=headers)
        await connection.execute(SQL["note_replayed"], one.prepared.event_id, place.offset)
        report(Done(one, Place(publisher.topic, *place)))


def _event_id(value: bytes | None) -> str | None:
    try:
        document = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return None
    return document.get("event_id") if isinstance(document, dict) else None
