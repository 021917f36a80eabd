"""The allocator's state in a database, in the plain facts in which the reference model says its own."""

from collections.abc import Awaitable, Callable
from dataclasses import fields

import asyncpg

from consumers.allocator.state import Assignment, Counts, Order, Wallet
from tests.reference.agreement import Facts, facts_of_rows

Fetch = Callable[..., Awaitable[list[asyncpg.Record]]]
"A query and its arguments, and the rows that are the answer."

ORDERS = f"SELECT {', '.join(column.name for column in fields(Order))} FROM orders"
WALLETS = f"SELECT {', '.join(column.name for column in fields(Wallet))} FROM wallets"
ASSIGNMENTS = f"SELECT partition, {', '.join(Assignment._fields)} FROM assignments"
DEAD_LETTERS = 'SELECT partition, "offset", reason FROM dead_letters WHERE topic = $1'
COUNTS = (
    f"SELECT {', '.join(f'coalesce(sum({name}), 0)::int' for name in Counts._fields)} FROM partitions WHERE topic = $1"
)


async def facts_of_database(fetch: Fetch, topic: str) -> Facts:
    """What is in the tables now; nothing may be at work.

    Args:
        topic: the orders'.
    """
    orders = [Order(*row) for row in await fetch(ORDERS)]
    wallets = [Wallet(*row) for row in await fetch(WALLETS)]
    assignments = {(row[0], row["assigned_offset"]): Assignment(*row[1:]) for row in await fetch(ASSIGNMENTS)}
    return facts_of_rows(
        {(order.currency, order.order_id): order for order in orders},
        {(wallet.currency, wallet.network, wallet.address): wallet for wallet in wallets},
        assignments,
        [(row[0], row[1], row[2]) for row in await fetch(DEAD_LETTERS, topic)],
        tuple((await fetch(COUNTS, topic))[0]),
    )
