"""Servers that crash or freeze, and connections to them that break."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from tests.faults.registry import fault
from tests.faults.world import World
from tests.servers.proxy import Proxy

SHORT_SECONDS = (0.5, 2.0)
"How long such a fault lasts: long enough that every process meets it, shorter than a session."


async def lasting(world: World, least: float = SHORT_SECONDS[0], most: float = SHORT_SECONDS[1]) -> None:
    """The fault goes on for a while."""
    await asyncio.sleep(world.rng.uniform(least, most))


@fault("kafka")
async def kafka_killed(world: World) -> float:
    """kill -9 of the broker, and a restart on the same data."""
    await world.servers.kill("kafka")
    await world.servers.start("kafka")
    return time.monotonic()


@fault("kafka")
async def kafka_frozen(world: World) -> float:
    """SIGSTOP: connections stay, nothing answers."""
    await world.servers.pause("kafka")
    await lasting(world)
    await world.servers.unpause("kafka")
    return time.monotonic()


@fault("postgres")
async def postgres_killed(world: World) -> float:
    """An immediate shutdown, and a restart with crash recovery."""
    with world.excuses.during():
        await world.servers.kill("postgres")
        await world.servers.start("postgres")
    return time.monotonic()


@fault("postgres")
async def postgres_frozen(world: World) -> float:
    """SIGSTOP of every process of it."""
    with world.excuses.during():
        await world.servers.pause("postgres")
        await lasting(world)
        await world.servers.unpause("postgres")
    return time.monotonic()


@fault("kafka")
async def kafka_connections_cut(world: World) -> float:
    """Every connection is reset at once."""
    world.kafka.cut()
    return time.monotonic()


@fault("kafka")
async def kafka_unreachable(world: World) -> float:
    """Connections are reset, and no new ones are taken for a while."""
    async with unreachable(world.kafka):
        await lasting(world)
    return time.monotonic()


@fault("kafka")
async def kafka_slow(world: World) -> float:
    """Every packet takes its time."""
    async with slow(world.kafka, 0.1):
        await lasting(world)
    return time.monotonic()


@fault("kafka")
async def kafka_packets_lost(world: World) -> float:
    """Connections stay, nothing comes through; later it does."""
    async with swallowing(world.kafka):
        await lasting(world)
    return time.monotonic()


@fault("postgres")
async def postgres_connections_cut(world: World) -> float:
    """Every connection is reset at once: some in the middle of a transaction, some after the commit was sent."""
    with world.excuses.during():
        world.postgres.cut()
    return time.monotonic()


@fault("postgres")
async def postgres_unreachable(world: World) -> float:
    """Connections are reset, and no new ones are taken for a while."""
    with world.excuses.during():
        async with unreachable(world.postgres):
            await lasting(world)
    return time.monotonic()


@fault("postgres")
async def postgres_slow(world: World) -> float:
    """Every packet takes its time."""
    with world.excuses.during():
        async with slow(world.postgres, 0.1):
            await lasting(world)
    return time.monotonic()


@fault("postgres")
async def postgres_packets_lost(world: World) -> float:
    """Connections stay, nothing comes through; later it does."""
    with world.excuses.during():
        async with swallowing(world.postgres):
            await lasting(world)
    return time.monotonic()


@contextlib.asynccontextmanager
async def unreachable(proxy: Proxy) -> AsyncIterator[None]:
    """Nobody gets through."""
    proxy.refuse()
    try:
        yield
    finally:
        await proxy.listen()


@contextlib.asynccontextmanager
async def slow(proxy: Proxy, delay: float) -> AsyncIterator[None]:
    """Everything takes so many seconds longer, in each direction."""
    proxy.delay = delay
    try:
        yield
    finally:
        proxy.delay = 0.0


@contextlib.asynccontextmanager
async def swallowing(proxy: Proxy) -> AsyncIterator[None]:
    """Nothing comes through."""
    proxy.swallow()
    try:
        yield
    finally:
        proxy.flow()
