"""Scale: whether walletq is as fast with a large state as with a small one."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from benchmarks.contenders import Run
from benchmarks.contenders.walletq import Walletq
from benchmarks.drain import drain
from benchmarks.log import Log
from benchmarks.queues import Queues, pools_of, queues, shipped_pools, write_catalogue
from benchmarks.results import Drain, Scale
from benchmarks.servers import Bench

FILL = """
INSERT INTO orders (currency, order_id, status, network, amount, email, locale, expires_at, pending_offset, pending_at,
                    ended_offset, ended_at)
SELECT c.currency, 'ended-' || n, 'completed', c.network, '50', 'customer' || n || '@example.com', 'en',
       now(), -2 * n, now(), 1 - 2 * n, now()
FROM generate_series(1, $1::bigint) n
JOIN (VALUES (0, 'USDT', 'TRC-20'), (1, 'BTC', 'bitcoin'), (2, 'ETH', 'ethereum'), (3, 'LTC', 'litecoin'))
     AS c (number, currency, network) ON c.number = n % 4;
"""
FILL_ASSIGNMENTS = """
INSERT INTO assignments (assignment_id, partition, assigned_offset, released_offset, currency, network, address,
                         order_id, waited, assigned_at, released_at)
SELECT gen_random_uuid(), 0, pending_offset, ended_offset, currency, network, 'address-' || -pending_offset % 1000,
       order_id, false, pending_at, ended_at
FROM orders WHERE order_id LIKE 'ended-%';
"""


@dataclass(frozen=True)
class Sizes:
    """Which sizes are measured. The first of each is what the others are compared with.

    Attributes:
        waiting: orders in the queues of the shipped catalogue's six pools.
        currencies: of one network each; with 1,000 waiting orders in all.
        ended: orders and assignments in the tables, beside the lifecycle that is drained; 0 comes first.
    """

    waiting: tuple[int, ...] = (1_000, 100_000, 1_000_000)
    currencies: tuple[int, ...] = (4, 1, 100)
    ended: tuple[int, ...] = (0, 10_000_000)


async def scales(bench: Bench, events: int, seed: int, lifecycle: Log, sizes: Sizes) -> AsyncIterator[Scale]:
    """One after the other.

    Raises:
        Wrong, Stalled: walletq does not come to its end.
    """
    group: list[tuple[str, Drain]] = []

    def scale(name: str, drained: Drain) -> Scale:
        group.append((name, drained))
        beside, base = group[0]
        return Scale(name, beside, drained.events_per_second / base.events_per_second, drained)

    for waiting in sizes.waiting:
        made = await asyncio.to_thread(queues, shipped_pools(), waiting=waiting, events=events, seed=seed)
        yield scale(f"{waiting:,} waiting orders", await _through(bench, made))
    group.clear()
    for currencies in sizes.currencies:
        pools = pools_of(currencies)
        made = await asyncio.to_thread(queues, pools, waiting=1_000, events=events, seed=seed)
        with tempfile.TemporaryDirectory(prefix="walletq-bench-") as folder:
            catalogue = write_catalogue(pools, Path(folder, "catalogue.toml"))
            yield scale(_plural(currencies, "currency", "currencies"), await _through(bench, made, catalogue))
    group.clear()
    for ended in sizes.ended:

        async def fill(run: Run, ended: int = ended) -> None:
            await _fill(run, ended)

        drained = await drain(bench, Walletq(), lifecycle, fill=fill)
        yield scale(f"{ended:,} ended orders", drained)


async def _through(bench: Bench, made: Queues, catalogue: Path | None = None) -> Drain:
    return await drain(bench, Walletq(catalogue), made.log, begin=made.begin)


async def _fill(run: Run, ended: int) -> None:
    connection = await asyncpg.connect(run.database_url)
    try:
        if ended:
            await connection.execute(FILL, ended)
            await connection.execute(FILL_ASSIGNMENTS)
            await connection.execute("VACUUM (ANALYZE) orders, assignments")
    finally:
        await connection.close()


def _plural(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
