"""Faults one after the other in a world under load; after each, nothing is lost and everything goes on."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from schemas.settings import Settings
from tests.faults import mail_faults, owner_faults, process_faults, server_faults, state_faults
from tests.faults.judge import Judge
from tests.faults.recovery import recovered
from tests.faults.registry import FAULTS, Inject
from tests.faults.report import PROPERTY, measured
from tests.faults.world import World, open_world
from tests.servers.disk import own_disk
from tests.servers.servers import Servers

RecordProperty = Callable[[str, object], None]


RATE = 60
"Events a second: few enough that two such tests and their servers share a small machine."


async def campaign(world: World, record: RecordProperty, *faults: Inject | Sequence[Inject]) -> None:
    """Inject them, those of a sequence at the same time, and judge after each."""
    judge = Judge(world)
    for step in faults:
        together = [step] if callable(step) else step
        name = " and ".join(FAULTS[inject.__name__].name for inject in together)
        try:
            since = max(await asyncio.gather(*(inject(world) for inject in together)))
            record(PROPERTY, measured(name, await recovered(world, since)))
            tally = await judge.judge()
        except AssertionError as error:
            error.add_note(f"the fault: {name}")
            raise
        assert not tally.findings, f"after {name}:\n" + "\n".join(tally.findings)


@pytest.mark.timeout(600)
async def test_processes_that_die_or_stop_lose_nothing_and_come_back(
    settings: Settings, servers: Servers, record_property: RecordProperty
) -> None:
    async with open_world(servers, settings, rate=RATE, mailers=("mailer-1", None)) as world:
        await campaign(
            world,
            record_property,
            (process_faults.allocator_killed, process_faults.mailer_killed),
            (process_faults.allocator_stopped_past_its_session, process_faults.mailer_stopped_past_its_session),
            owner_faults.owner_stopped_while_its_batch_is_written,
            process_faults.everything_restarted,
        )


@pytest.mark.timeout(600)
async def test_servers_that_fail_and_connections_that_break_lose_nothing(
    settings: Settings, servers: Servers, record_property: RecordProperty
) -> None:
    async with open_world(servers, settings, rate=RATE) as world:
        await campaign(
            world,
            record_property,
            server_faults.kafka_killed,
            (process_faults.allocator_killed, server_faults.postgres_killed),
            (server_faults.kafka_frozen, server_faults.postgres_frozen),
            (server_faults.kafka_connections_cut, server_faults.postgres_connections_cut),
            (server_faults.kafka_unreachable, server_faults.postgres_unreachable),
            (server_faults.kafka_slow, server_faults.postgres_slow),
            (server_faults.kafka_packets_lost, server_faults.postgres_packets_lost),
        )


@pytest.mark.timeout(600)
async def test_a_moody_mail_server_delays_mails_and_loses_none(
    settings: Settings, servers: Servers, record_property: RecordProperty
) -> None:
    async with open_world(servers, settings, rate=RATE, allocators=("allocator-1",)) as world:
        await campaign(
            world,
            record_property,
            mail_faults.smtp_451_at_rcpt,
            mail_faults.smtp_drops_after_the_dot,
            mail_faults.smtp_unreachable,
            state_faults.database_restored,
            mail_faults.smtp_550_at_rcpt,  # after the restore, which forgets that these mails have failed
        )
        assert len({mail.message_id for mail in world.mail.accepted}) > 100
        assert await world.ask("SELECT FROM wallets WHERE status = 'cooling'"), "nothing cools in this world"


@pytest.mark.timeout(600)
async def test_a_full_disk_is_waited_for(settings: Settings, servers: Servers, record_property: RecordProperty) -> None:
    async with (
        own_disk(servers.database_admin_url, settings.need_database()) as disk,
        open_world(
            servers, settings, rate=RATE, allocators=("allocator-1",), mailers=("mailer-1",), disk=disk
        ) as world,
    ):
        await campaign(world, record_property, state_faults.disk_full)
