"""Whether anything was lost, doubled or invented: every invariant, and the whole log against the reference model."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import asyncpg
import orjson

from operations.kafka_log import open_log
from operations.verify import check, until_drained
from schemas.topics import names
from tests.faults.world import COOLING, World
from tests.reference import Model, Record, assignment_id
from tests.reference.agreement import Facts, disagreement, facts_of_model
from tests.reference.catalogue import Catalogue, catalogue_of
from tests.servers.facts import facts_of_database
from tests.servers.mail_server import Accepted
from tests.servers.wait import until

Rows = list[asyncpg.Record]

SETTLE_SECONDS = 5.0
"A mail's acceptance is written down within so long, unless a fault is in the way."

DELIVERIES = """
SELECT d.notification_id, d.state, d.outcome, a.address, a.released_offset IS NULL AS holds, o.email
FROM assignments a
JOIN orders o USING (currency, order_id)
LEFT JOIN deliveries d ON d.notification_id = a.assignment_id
"""
CATALOGUES = "SELECT partition, from_offset, content FROM catalogues WHERE topic = $1 ORDER BY from_offset"
MAILS_LEFT = "SELECT count(*) FROM deliveries WHERE state IN ('due', 'sending')"


@dataclass
class Tally:
    """What there was, for the report."""

    events: int = 0
    assignments: int = 0
    notifications: int = 0
    mails: int = 0
    mailed_twice: int = 0
    "Mails that were accepted more than once, each with a reason."
    findings: list[str] = field(default_factory=list)
    "Everything that does not hold."


class Judge:
    """Goes on where its last judgement ended: the model takes every record once."""

    def __init__(self, world: World, *others: Catalogue) -> None:
        """It has seen nothing yet.

        Args:
            world: what is judged.
            others: the catalogues that processes have been given besides the world's own.
        """
        self.catalogues: dict[int, list[tuple[int, Catalogue]]] = {}
        "By partition: from which offset on which catalogue decided, as the database has it."
        self._world = world
        self._given = (COOLING, *others)
        self._orders = names(world.direct).orders
        self._notifications = names(world.direct).notifications
        self._model = Model(catalogue=COOLING, topic=self._orders)
        self._read: dict[str, dict[int, int]] = {self._orders: {}, self._notifications: {}}
        self._log: dict[tuple[int, int], int] = {}
        self._notified: dict[str, set[tuple[bytes | None, bytes | None]]] = defaultdict(set)
        self._expected: set[str] = set()
        self._seen: int = 0
        self.notifications = 0

    async def judge(self, seconds: float = 60) -> Tally:
        """Stop the load, wait until everything is drained, look at everything, and let the load go on.

        Args:
            seconds: the longest that draining may take.

        Raises:
            AssertionError: it is not drained by then, or a process has given up.
        """
        world = self._world
        world.assert_alive()
        for clock in world.clocks.all:
            clock.process.pause()  # it is upstream too
        try:
            await world.upstream.quiet(seconds)
            return await self._judge_at_rest(seconds)
        finally:
            for clock in world.clocks.all:
                clock.process.unpause()
            world.upstream.resume()

    async def _judge_at_rest(self, seconds: float) -> Tally:
        world = self._world
        assert await until_drained(world.direct, seconds), "something is left to apply, to publish or to take in"
        await until(self._mails_settled, seconds, "every delivery to end")
        tally = Tally(findings=[f.as_text() for f in await check(world.direct, drained=True) if f.result == "violated"])
        tally.findings += await self._read_catalogues()
        await self._read_topics()
        found = await facts_of_database(world.ask, self._orders)
        deliveries = await world.ask(DELIVERIES)
        tally.findings += await asyncio.to_thread(self._compare, found, deliveries)
        tally.findings += self._lost()
        unexcused, tally.mailed_twice = self._mailed_twice()
        tally.findings += unexcused
        tally.events, tally.assignments = len(self._log), len(self._model.assignments)
        tally.notifications, tally.mails = self.notifications, len(world.mail.accepted)
        return tally

    async def _mails_settled(self) -> bool:
        return bool((await self._world.ask(MAILS_LEFT))[0][0] == 0)

    async def _read_catalogues(self) -> list[str]:
        """As for a replay, which catalogue decided is an input; but it must be one that somebody was given."""
        self.catalogues = defaultdict(list)
        for row in await self._world.ask(CATALOGUES, self._orders):
            self.catalogues[row["partition"]].append((row["from_offset"], catalogue_of(row["content"])))
        return [
            f"partition {partition} records from {since} on a catalogue that nobody was given"
            for partition, recorded in self.catalogues.items()
            for since, catalogue in recorded
            if catalogue not in self._given
        ]

    async def _read_topics(self) -> None:
        async with open_log(self._world.direct) as log:
            for topic, places in self._read.items():
                ends = await log.ends(topic)
                starts = {number: places.get(number, 0) for number in ends}
                async for batch in log.read(topic, starts, ends):
                    for record in batch:
                        self._take(topic, record)
                places.update(ends)

    def _take(self, topic: str, record: Any) -> None:
        if topic == self._orders:
            self._log[record.partition, record.offset] = crc32(record.value or b"")
            self._model.catalogue = self._catalogue_at(record.partition, record.offset)
            self._model.take(Record(record.partition, record.offset, record.timestamp, record.key, record.value))
        else:
            self.notifications += 1
            self._notified[orjson.loads(record.value)["notification_id"]].add((record.key, record.value))

    def _catalogue_at(self, partition: int, offset: int) -> Catalogue:
        recorded = [catalogue for since, catalogue in self.catalogues[partition] if since <= offset]
        return recorded[-1] if recorded else COOLING

    def _compare(self, found: Facts, deliveries: Rows) -> list[str]:
        model = self._model
        for made in model.assignments[self._seen :]:
            self._expected.add(str(assignment_id(made.partition, made.assigned_offset, self._orders)))
        self._seen = len(model.assignments)
        differing = disagreement(found, facts_of_model(model))
        told = self._notified.keys()
        return [
            *([f"the database differs from the model: {differing}"] if differing else []),
            *(f"notification {one} is not of the model" for one in sorted(told - self._expected)[:5]),
            *(f"assignment {one} has no notification" for one in sorted(self._expected - told)[:5]),
            *(f"notification {one} has two contents" for one, said in self._notified.items() if len(said) > 1),
            *self._mailed(deliveries),
        ]

    def _lost(self) -> list[str]:
        """What was acknowledged to upstream is on the log, where it was said to be."""
        lost = [place for place, crc in self._world.upstream.acknowledged.items() if self._log.get(place) != crc]
        return [f"{len(lost)} acknowledged events are not on the log: {lost[:5]}"] if lost else []

    def _mailed(self, deliveries: Rows) -> list[str]:
        """Every order that holds its wallet has its mail, or the reason why not; every mail is right."""
        found = []
        accepted = self._accepted()
        for row in deliveries:
            mails = accepted.pop(str(row["notification_id"]), []) if row["notification_id"] else []
            if row["state"] == "sent" and not mails:
                found.append(f"delivery {row['notification_id']} is sent, and no mail was accepted")
            if row["holds"] and not mails and row["state"] not in ("failed", "expired", "superseded"):
                found.append(f"an order holds {row['address']} and has no mail: {row['state']}")
            found += [
                f"mail {mail.message_id} is not for its order, or shows another address"
                for mail in mails
                if row["address"] not in mail.addresses or mail.recipient != row["email"]
            ]
        found += [f"mail {one} belongs to no assignment" for one in accepted]
        return found[:5]

    def _mailed_twice(self) -> tuple[list[str], int]:
        """The repeated mails without a reason, and how many there are with one."""
        repeated = {one: mails for one, mails in self._accepted().items() if len(mails) > 1}
        unexcused = [one for one, mails in repeated.items() if not all(map(self._excused, mails[:-1]))]
        found = [f"{len(unexcused)} mails were accepted again without a reason: {unexcused[:5]}"] if unexcused else []
        return found, len(repeated) - len(unexcused)

    def _accepted(self) -> dict[str, list[Accepted]]:
        """The mails by their Message-ID, in the order in which they were accepted."""
        accepted: dict[str, list[Accepted]] = defaultdict(list)
        for mail in self._world.mail.accepted:
            accepted[mail.message_id].append(mail)
        return accepted

    def _excused(self, mail: Accepted) -> bool:
        """The mailer was not told, or was hindered from writing it down."""
        begin, end = mail.at - SETTLE_SECONDS, mail.at + SETTLE_SECONDS
        return not mail.answered or any(start <= end and begin <= stop for start, stop in self._world.excuses.spans)
