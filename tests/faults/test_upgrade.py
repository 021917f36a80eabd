"""What docs/upgrades.md promises of a rolling upgrade."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import orjson
import pytest

from schemas.settings import Settings
from schemas.topics import names
from tests.faults.judge import Judge
from tests.faults.report import PROPERTY, measured
from tests.faults.upgrade import NARROWER, assignments, pauses, upgraded, write_narrower
from tests.faults.upstream import BUSY_PARTITIONS
from tests.faults.world import COOLING, World, open_world
from tests.servers.servers import Servers
from tests.servers.wait import until
from tests.traffic import right_partition

RATE = 60
SESSION_MS = 60_000
"Longer than a process takes to start on any machine."

AMOUNTS = "SELECT amount FROM orders WHERE currency = 'BTC' AND pending_offset IS NOT NULL"
REFUSED = "SELECT value FROM dead_letters WHERE topic = $1 AND partition = $2 AND reason = 'amount_out_of_range'"


@pytest.mark.timeout(600)
async def test_every_process_is_replaced_under_load_and_no_partition_moves_and_nothing_is_lost(
    settings: Settings, servers: Servers, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    async with open_world(servers, settings, rate=RATE, session_ms=SESSION_MS) as world:
        await world.allocators.shared(world.direct, len(world.allocators.all))
        await until(lambda: _taken(world), 60, "an order that only the old catalogue takes")
        catalogue = write_narrower(world, tmp_path)
        owned = {member: assignments(member)[-1] for member in world.allocators.all}
        for member in world.processes:
            others = {other: assignments(other) for other in world.allocators.all if other is not member}
            await upgraded(member, catalogue)
            assert {other: assignments(other) for other in others} == others, "the group has shared out anew"
        assert {member: assignments(member) for member in owned} == {member: [own] for member, own in owned.items()}
        await until(lambda: _refused(world), 60, "an order that the new catalogue does not take")

        judge = Judge(world, NARROWER)
        tally = await judge.judge()
        assert not tally.findings, "\n".join(tally.findings)
        assert tally.mailed_twice == 0
        recorded = {number: [one for _, one in judge.catalogues[number]] for number in BUSY_PARTITIONS}
        assert all(catalogues == [COOLING, NARROWER] for catalogues in recorded.values()), recorded
        for pause in (await pauses(world)).values():
            record_property(PROPERTY, measured("rolling upgrade, the longest wait in a partition", pause))


async def _taken(world: World) -> bool:
    rows = await world.ask(AMOUNTS)
    return any(Decimal(row["amount"]) > NARROWER["BTC"].largest for row in rows)


async def _refused(world: World) -> bool:
    rows = await world.ask(REFUSED, names(world.direct).orders, right_partition(b"BTC"))
    amounts = [Decimal(orjson.loads(row["value"])["amount"]) for row in rows]
    return any(NARROWER["BTC"].largest < amount <= COOLING["BTC"].largest for amount in amounts)
