"""What the demo sees: the database, a few times a second."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg

from storage.sql import read_queries

SQL = read_queries("demo")
LOOK_SECONDS = 0.2
HAPPENINGS = 60


@dataclass(frozen=True)
class Pool:
    """A pool at one moment."""

    currency: str
    network: str
    free: int = 0
    occupied: int = 0
    waiting: int = 0
    assigned: int = 0
    "So far."

    @property
    def name(self) -> str:
        """The currency, and the network in brackets where that says more."""
        return pool_name(self.currency, self.network)


@dataclass(frozen=True)
class Happening:
    """Something that somebody would want to hear of: at `id` an order got a wallet, expired, or was refused."""

    kind: str
    id: str
    text: str


@dataclass(frozen=True)
class Look:
    """Everything at one moment; happenings newest first."""

    pools: list[Pool]
    orders: int = 0
    ended: int = 0
    assigned: int = 0
    mails: int = 0
    dead_letters: int = 0
    happenings: tuple[Happening, ...] = ()

    @property
    def free(self) -> int:
        """The free wallets of all pools."""
        return sum(pool.free for pool in self.pools)

    @property
    def waiting(self) -> int:
        """The waiting orders of all pools."""
        return sum(pool.waiting for pool in self.pools)


class Watch:
    """Looks again and again, shows what it sees, and lets others wait for it."""

    def __init__(
        self, connection: asyncpg.Connection, pools: list[tuple[str, str]], show: Callable[[Look], None]
    ) -> None:
        self._connection = connection
        self._pools = pools
        self._show = show
        self._look = Look([Pool(*pool) for pool in pools])
        self._looked = asyncio.Condition()

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            look = await read_look(self._connection, self._pools)
            self._show(look)
            async with self._looked:
                self._look = look
                self._looked.notify_all()
            await asyncio.sleep(LOOK_SECONDS)

    async def until(self, condition: Callable[[Look], bool]) -> None:
        """Wait for the first look of which the condition holds."""
        async with self._looked:
            await self._looked.wait_for(lambda: condition(self._look))


async def read_look(connection: asyncpg.Connection, pools: list[tuple[str, str]]) -> Look:
    """The look of this moment."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        by_pool = {(row["currency"], row["network"]): row for row in await connection.fetch(SQL["pools"])}
        totals = await connection.fetchrow(SQL["totals"])
        happenings = await connection.fetch(SQL["happenings"], HAPPENINGS)
    return Look(
        pools=[Pool(**by_pool[pool]) if pool in by_pool else Pool(*pool) for pool in pools],
        happenings=tuple(Happening(row["kind"], row["order_id"], in_words(row)) for row in happenings),
        **totals,
    )


def in_words(row: Mapping[str, Any]) -> str:
    """A row of `happenings` as a sentence."""
    if row["kind"] == "refused":
        return f"The record at {row['order_id']} was refused and became a dead letter: {row['reason']}"
    order, pool = row["order_id"], pool_name(row["currency"], row["network"])
    if row["kind"] == "expired":
        return f"{order} was not paid in time: the clock has cancelled it ({pool})"
    address = shortened(row["address"])
    if not row["waited"]:
        return f"{order} got {address} at once ({pool})"
    by = f", released by {row['released_by']}" if row["released_by"] else ""
    return f"{order} waited {row['waited_seconds']:.1f} s and got {address} ({pool}){by}"


def pool_name(currency: str, network: str) -> str:
    """Such as "BTC" or "USDT TRC-20": the network where its name does not say the same."""
    return currency if network.isalpha() else f"{currency} {network}"


def shortened(address: str) -> str:
    """Enough of an address to know it again."""
    return f"{address[:8]}…{address[-4:]}"
