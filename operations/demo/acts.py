"""What is done in the demo, one act after the other. Each waits until its effect can be seen."""

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg
from aiokafka import AIOKafkaProducer

from operations.demo.look import SQL, Watch
from operations.demo.operator import Operator
from operations.demo.plan import NO_EVENT, SEED, WALLETS_PER_POOL, Plan, PlannedOrder
from producers.publisher import Publisher
from schemas.settings import Settings
from schemas.topics import names
from storage.kafka import client_options

AT_A_TIME = 15
"So many orders come in at once,"
PAUSE_SECONDS = 0.2
"and then none for so long, so that one can watch the queues grow."
ROUND_SECONDS = 0.4
"From one round of the operator to the next."


@dataclass(frozen=True)
class Stage:
    """What every act works with."""

    settings: Settings
    plan: Plan
    connection: asyncpg.Connection
    watch: Watch
    tell: Callable[[str], None]
    now: Callable[[], datetime]


async def play(stage: Stage) -> None:
    """All acts, until every order has ended."""
    async with Publisher(stage.settings) as publisher:
        await add_wallets(stage, publisher)
        await publish_orders(stage, publisher)
        await operate(stage, publisher)


async def add_wallets(stage: Stage, publisher: Publisher) -> None:
    """The pools get their wallets."""
    wallets = stage.plan.wallets
    pools = len(wallets) // WALLETS_PER_POOL
    stage.tell(f"Adding {len(wallets)} wallets, {WALLETS_PER_POOL} to each of {pools} pools")
    await publisher.publish_many(wallet.added(stage.now()) for wallet in wallets)
    await stage.watch.until(lambda look: look.free == len(wallets))


async def publish_orders(stage: Stage, publisher: Publisher) -> None:
    """The orders come in, and somewhere among them a record that is no event."""
    orders = stage.plan.orders
    stage.tell(f"Publishing {len(orders)} orders, and one broken record: wallets run out, and queues form")
    for number, chunk in enumerate(_chunks(orders)):
        await publisher.publish_many(order.pending(stage.now()) for order in chunk)
        if number == len(orders) // AT_A_TIME // 2:
            await _publish_no_event(stage.settings, orders[0].currency)
        await asyncio.sleep(PAUSE_SECONDS)
    await stage.watch.until(lambda look: look.orders == len(orders) and look.dead_letters == 1)


async def operate(stage: Stage, publisher: Publisher) -> None:
    """The operator ends orders, round after round; the one that nobody pays is the clock's."""
    stage.tell("An operator completes and cancels orders: wallets go on to those who waited longest")
    operator = Operator(random.Random(SEED), stage.plan.unpaid)
    ended = asyncio.create_task(stage.watch.until(lambda look: look.ended == len(stage.plan.orders)))
    try:
        while not ended.done():
            holding = await _orders(stage.connection, "told_holders")
            waiting = await _orders(stage.connection, "waiting_orders")
            if events := operator.round(holding, waiting, stage.now()):
                await publisher.publish_many(events)
            await asyncio.wait([ended], timeout=ROUND_SECONDS)
    finally:
        ended.cancel()


async def _publish_no_event(settings: Settings, key: str) -> None:
    """The publisher would refuse it: this is what a stranger's producer does."""
    async with AIOKafkaProducer(**client_options(settings), acks="all") as stranger:
        await stranger.send_and_wait(names(settings).orders, NO_EVENT, key=key.encode())


async def _orders(connection: asyncpg.Connection, query: str) -> list[tuple[str, str]]:
    return [(row["currency"], row["order_id"]) for row in await connection.fetch(SQL[query])]


def _chunks(orders: Sequence[PlannedOrder]) -> Iterator[Sequence[PlannedOrder]]:
    return (orders[start : start + AT_A_TIME] for start in range(0, len(orders), AT_A_TIME))
