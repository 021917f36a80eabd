"""How long it takes after a fault until new events are through: applied, published, mailed."""

import time
from dataclasses import dataclass

from schemas.topics import names
from tests.faults.world import World
from tests.servers.wait import until

LONGEST_SECONDS = 60.0
LOOKED_AT = 6
"So many of them at least."

# $1: the orders' topic; $2, $3: the first offset of each partition that was published after the fault
APPLIED = """
SELECT count(*) FROM unnest($2::int[], $3::bigint[]) AS mark (partition, first)
JOIN partitions p ON p.topic = $1 AND p.partition = mark.partition
WHERE p.next_offset > mark.first AND p.published_offset > mark.first
"""

# of the first three assignments behind each mark: how many there are, and how many have not ended in the mailer
MAILED = """
SELECT count(*) AS made, count(*) FILTER (WHERE d.state IS NULL OR d.state IN ('due', 'sending')) AS open
FROM unnest($1::int[], $2::bigint[]) AS mark (partition, first)
CROSS JOIN LATERAL (
    SELECT assignment_id FROM assignments a
    WHERE a.partition = mark.partition AND a.assigned_offset >= mark.first ORDER BY a.assigned_offset LIMIT 3
) made
LEFT JOIN deliveries d ON d.notification_id = made.assignment_id
"""


@dataclass(frozen=True)
class Recovery:
    """Seconds from the end of the fault (from a kill: from the kill)."""

    applied: float
    "Until an event of each busy partition that was published after that is applied, and its notification published."
    mailed: float
    "Until the first assignments after that are mailed, or ended otherwise."


async def recovered(world: World, since: float, seconds: float = LONGEST_SECONDS) -> Recovery:
    """Wait until new events are through.

    Args:
        world: with load.
        since: when the fault was over, in monotonic seconds.
        seconds: the longest that each of both may take.

    Raises:
        AssertionError: it took longer.
    """
    topic = names(world.direct).orders
    with world.upstream.mark(since) as mark:
        await until(lambda: mark.is_whole, seconds, "events to be published after the fault")
        numbers, firsts = list(mark.offsets), list(mark.offsets.values())

        async def applied() -> bool:
            world.assert_alive()
            return bool((await world.ask(APPLIED, topic, numbers, firsts))[0][0] == len(numbers))

        async def mailed() -> bool:
            world.assert_alive()
            row = (await world.ask(MAILED, numbers, firsts))[0]
            return bool(row["made"] >= LOOKED_AT and row["open"] == 0)

        await until(applied, seconds, "events after the fault to be applied and published")
        applied_at = time.monotonic()
        await until(mailed, seconds, "assignments after the fault to be mailed")
        return Recovery(applied_at - since, time.monotonic() - since)
