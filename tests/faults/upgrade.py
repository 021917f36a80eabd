"""A rolling upgrade: every process is replaced by one of a new version, one after the other."""

import re
from collections import defaultdict
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import orjson

from schemas.topics import names
from tests.faults.members import Member
from tests.faults.process_faults import restarted
from tests.faults.recovery import Recovery
from tests.faults.upstream import BUSY_PARTITIONS
from tests.faults.world import COOLING, World
from tests.reference import Catalogue
from tests.servers.topics import consumed

NARROWER: Catalogue = {**COOLING, "BTC": replace(COOLING["BTC"], largest=Decimal("0.05"))}
"The world's, but it takes only the smaller half of the orders of one currency."

ASSIGNMENTS = """
SELECT a.assignment_id, a.partition, a.assigned_at, extract(epoch FROM d.sent_at - a.assigned_at)::float AS mailed
FROM assignments a LEFT JOIN deliveries d ON d.notification_id = a.assignment_id AND d.state = 'sent'
"""


def write_narrower(world: World, folder: Path) -> Path:
    """The file of the catalogue `NARROWER`."""
    assert world.direct.catalogue is not None
    file = folder / "narrower.toml"
    limit = f'max_amount = "{COOLING["BTC"].largest}"'
    text = world.direct.catalogue.read_text()
    assert text.count(limit) == 1
    file.write_text(text.replace(limit, f'max_amount = "{NARROWER["BTC"].largest}"'))
    return file


async def upgraded(member: Member, catalogue: Path) -> None:
    """SIGTERM; a new life with the same member id, and that catalogue."""
    member.settings = member.settings.model_copy(update={"catalogue": catalogue})
    await restarted(member)


def assignments(member: Member) -> list[list[int]]:
    """The partitions that this life of an allocator was given, each time that it was given some."""
    lines = [line for line in member.process.log.splitlines() if "partitions_assigned" in line]
    return [[int(number) for number in re.findall(r"\d+", _list_in(line))] for line in lines]


async def pauses(world: World) -> dict[int, Recovery]:
    """By busy partition: the longest that any order has waited, from its event's arrival on the log to its
    notification, and to its mail. Of what is at work now, only what is published counts."""
    notified: dict[UUID, int] = {}
    for record in await consumed(world.direct, names(world.direct).notifications):
        identifier = UUID(orjson.loads(record.value)["notification_id"])
        notified[identifier] = min(record.timestamp, notified.get(identifier, record.timestamp))
    published, mailed = defaultdict(list), defaultdict(list)
    for row in await world.ask(ASSIGNMENTS):
        if row["assignment_id"] not in notified:
            continue
        published[row["partition"]].append(notified[row["assignment_id"]] / 1000 - row["assigned_at"].timestamp())
        mailed[row["partition"]].append(row["mailed"] or 0.0)
    return {number: Recovery(max(published[number]), max(mailed[number])) for number in sorted(BUSY_PARTITIONS)}


def _list_in(line: str) -> str:
    found = re.search(r"\[[\d, ]+\]", line)
    assert found is not None, line
    return found[0]
