"""Processes of walletq that are killed, stopped, doubled and exchanged."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from schemas.topics import names
from storage.sql import read_queries
from tests.faults.members import Member, Members
from tests.faults.registry import fault
from tests.faults.world import World
from tests.servers.processes import walletq
from tests.servers.wait import until

MEMBER = read_queries("member")
MOST_ALLOCATORS = 4


@asynccontextmanager
async def in_hand(*members: Member) -> AsyncIterator[None]:
    """No other fault is to touch these."""
    for member in members:
        member.busy = True
    try:
        yield
    finally:
        for member in members:
            member.busy = False


async def killed(member: Member) -> float:
    """kill -9 at whatever it is doing, and a new life."""
    async with in_hand(member):
        since = time.monotonic()
        await member.kill()
        await member.start()
        await member.started()
    return since


async def stopped_past_its_session(world: World, group: Members, member: Member) -> float:
    """SIGSTOP until the group has given its partitions away, then SIGCONT: it must change nothing, live, and have
    partitions again by itself."""
    count = len(group.all)
    async with in_hand(member):
        member.process.pause()
        try:

            async def given_up() -> bool:
                return len(shares := await group.shares(world.direct)) == count - 1 and all(shares)

            await until(given_up, 60, f"{group.group} to go on without the stopped member")
        finally:
            member.process.unpause()
        since = time.monotonic()
        await group.shared(world.direct, count)
        member.assert_alive()
    return since


async def restarted(member: Member) -> None:
    """SIGTERM, and a new life."""
    async with in_hand(member):
        await member.terminate()
        await member.start()
        await member.started()


@fault("allocators")
async def allocator_killed(world: World) -> float:
    """kill -9 and restart."""
    return await killed(world.some_allocator())


@fault("mailers")
async def mailer_killed(world: World) -> float:
    """kill -9 and restart."""
    with world.excuses.during():
        return await killed(world.some_mailer())


@fault("allocators", "kafka")
async def allocator_stopped_past_its_session(world: World) -> float:
    """A zombie."""
    return await stopped_past_its_session(world, world.allocators, world.some_allocator())


@fault("mailers", "kafka")
async def mailer_stopped_past_its_session(world: World) -> float:
    """A zombie, whose leases have run out too."""
    with world.excuses.during():
        return await stopped_past_its_session(world, world.mailers, world.some_mailer())


@fault("allocators", "mailers")
async def everything_restarted(world: World) -> float:
    """A rolling restart of all processes under load, of each kind one after the other."""

    async def one_by_one(group: Members) -> None:
        for member in group.all:
            await restarted(member)

    with world.excuses.during():
        await asyncio.gather(*map(one_by_one, (world.allocators, world.mailers, world.clocks)))
    return time.monotonic()


@fault("allocators", "kafka")
async def scaled_up_and_down(world: World) -> float:
    """To four allocators, and back."""
    before = len(world.allocators.all)
    added = [await world.allocators.add(busy=True) for _ in range(MOST_ALLOCATORS - before)]
    await asyncio.gather(*(member.started() for member in added))
    await world.allocators.shared(world.direct, MOST_ALLOCATORS)
    for member in added:
        await world.allocators.remove(member)
    since = time.monotonic()
    await world.allocators.shared(world.direct, before)
    return since


@fault("allocators", "kafka", "postgres")
async def member_id_taken_twice(world: World) -> float:
    """A newcomer with the id of a live process ends and says so; the older one goes on."""
    older = next(member for member in world.allocators.all if member.is_static and not member.busy)
    who = (names(world.direct).allocator_group, older.settings.member_id)
    async with in_hand(older):
        # A fault before this one may have cut its connection: until it has noticed, its id is anybody's.
        await until(lambda: world.ask(MEMBER["member_holder"], *who), what="the older one to hold its id")
        newcomer = await walletq("allocate", settings=older.settings)
        assert newcomer.returncode == 1, newcomer.stdout + newcomer.stderr
        assert "is taken by another live process" in newcomer.stderr, newcomer.stderr
        older.assert_alive()
    return time.monotonic()
