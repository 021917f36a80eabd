"""Scale: whether walletq is as fast with a large state as with a small one."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import asyncpg

from benchmarks.contenders import Run
from benchmarks.contenders.walletq import Walletq
from benchmarks.drain import drain
from benchmarks.log import Log
from benchmarks.queues import pools_of, queues, shipped_pools, write_catalogue
from benchmarks.results import Drain
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


WAITING = (1_000, 100_000, 1_000_000)
"Orders in the queues of the shipped catalogue's six pools."
CURRENCIES = (4, 1, 100)
"Of one network each, with as many waiting orders in all as the first of WAITING."
ENDED = (0, 10_000_000)
"Orders, with an assignment each, in the tables beside the lifecycle that is drained."
WARM_SHARE = 0.2
"Of that lifecycle, before what is measured: the broker has been idle for a minute while the tables were filled."


class Size(NamedTuple):
    """A size of the state, and the drain with it."""

    name: str
    drain: Callable[[], Awaitable[Drain]]


def kinds(bench: Bench, events: int, seed: int, lifecycle: Log) -> Sequence[Sequence[Size]]:
    """What is measured: of each kind the same traffic with several sizes; the others are compared with the first."""
    return (
        [Size(f"{count:,} waiting orders", partial(_waiting, bench, events, seed, count)) for count in WAITING],
        [
            Size(f"{count:,} {'currency' if count == 1 else 'currencies'}", partial(_of, bench, events, seed, count))
            for count in CURRENCIES
        ],
        [Size(f"{count:,} ended orders", partial(_ended, bench, lifecycle, count)) for count in ENDED],
    )


async def _waiting(bench: Bench, events: int, seed: int, waiting: int) -> Drain:
    made = await asyncio.to_thread(queues, shipped_pools(), waiting=waiting, events=events, seed=seed)
    return await drain(bench, Walletq(), made.log, begin=made.begin)


async def _of(bench: Bench, events: int, seed: int, currencies: int) -> Drain:
    pools = pools_of(currencies)
    made = await asyncio.to_thread(queues, pools, waiting=WAITING[0], events=events, seed=seed)
    with tempfile.TemporaryDirectory(prefix="walletq-bench-") as folder:
        catalogue = write_catalogue(pools, Path(folder, "catalogue.toml"))
        return await drain(bench, Walletq(catalogue), made.log, begin=made.begin)


async def _ended(bench: Bench, lifecycle: Log, ended: int) -> Drain:
    begin = int(len(lifecycle.messages) * WARM_SHARE)
    return await drain(bench, Walletq(), lifecycle, begin=begin, fill=partial(_fill, ended) if ended else None)


async def _fill(ended: int, run: Run) -> None:
    connection = await asyncpg.connect(run.database_url)
    try:
        await connection.execute(FILL, ended)
        await connection.execute(FILL_ASSIGNMENTS)
        await connection.execute("VACUUM (ANALYZE) orders, assignments")
    finally:
        await connection.close()
