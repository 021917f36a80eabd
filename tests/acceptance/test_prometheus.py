"""A real Prometheus scrapes running processes of walletq: each alert fires while something is wrong, and clears."""

import random
import shlex
from functools import partial

import yaml

from schemas.catalogue import read_catalogue
from tests.acceptance.alert_world import PROCESSES, SEEN, World, sees
from tests.integration.allocator_world import messages, pending, processed, publish, reconnected, status, wallet
from tests.integration.mailer_world import open_world as open_mails
from tests.pages import DOCS, Page
from tests.servers.hindrances import largest_notification, locked_partition
from tests.servers.log_pipe import log_pipe
from tests.servers.mail_server import DROP, STALL, Mood
from tests.servers.processes import walletq
from tests.servers.prometheus import RULES, firing
from tests.servers.wait import until
from tests.traffic import address

WALLETS = 8
"More than any pool's threshold."


@sees("PoolEmergency", "PoolCritical")
async def test_pool_that_is_used_up(world: World) -> None:
    pools = [(code, network, n) for code, network in read_catalogue().pools() for n in range(WALLETS)]
    await world.begin("allocate")
    await world.publish(
        *(wallet(n, code, network=network, address=address(network, random.Random(n))) for code, network, n in pools)
    )
    await processed(world.settings, world.database, len(pools))
    await world.start("clock")
    orders = [f"ord-{n}" for n in range(WALLETS)]
    threshold = read_catalogue().currencies["BTC"].critical_free
    await world.publish(*(pending(order, "BTC") for order in orders[threshold:]))
    await world.fires("PoolCritical")
    assert await world.prometheus.lacks(firing("PoolEmergency"))
    await world.publish(*(pending(order, "BTC") for order in orders[:threshold]))
    await world.fires("PoolEmergency")
    assert {one["currency"] for one in await world.prometheus.firing("PoolEmergency")} == {"BTC"}
    await world.publish(*(status(order, "completed", "BTC") for order in orders))
    await world.clear("PoolEmergency", "PoolCritical")


@sees("PoolsUnknown")
async def test_clock_that_may_not_read_what_it_tells_of(world: World) -> None:
    await world.start("clock")
    assert await world.prometheus.query("walletq_pool_wallets")
    await world.database.execute("REVOKE SELECT ON deliveries FROM walletq_operator")
    await world.fires("PoolsUnknown")
    assert await world.prometheus.lacks("walletq_pool_wallets")  # unknown is not zero
    await world.database.execute("GRANT SELECT ON deliveries TO walletq_operator")
    await world.clear("PoolsUnknown")


@sees("PartitionStalled", "OutboxStuck", "DeadLettersRising")
async def test_partition_and_outbox_that_hang_and_records_that_are_refused(world: World) -> None:
    await world.start("allocate")
    await world.publish(wallet(1, "BTC"), wallet(1, "ETH"))
    refused = [message._replace(value=b"{}") for message in messages(*[wallet(1, "LTC")] * 20)]
    await publish(world.settings, refused)
    await world.fires("DeadLettersRising")
    await largest_notification(world.settings, 1)
    await world.publish(pending("ord-1", "ETH"))
    async with locked_partition(world.settings, world.database, b"BTC"):
        await world.publish(pending("ord-2", "BTC"))
        await world.fires("PartitionStalled", "OutboxStuck")
        async with reconnected(world.settings) as superuser:

            async def holder_is_found() -> bool:
                return "walletq test" in [row["application_name"] for row in await superuser.fetch(who_holds_a_lock())]

            await until(holder_is_found, 10, "the runbook's query to find who holds the lock")
    await largest_notification(world.settings, 1_000_000)
    await world.clear("PartitionStalled", "OutboxStuck", "DeadLettersRising")


@sees("PartitionUnowned")
async def test_records_for_which_no_process_is_there(world: World) -> None:
    await world.start("clock")
    await world.publish(wallet(1, "BTC"))
    await world.fires("PartitionUnowned")
    await world.begin("allocate")
    await world.clear("PartitionUnowned")


@sees("MailServerRefuses", "DeliveriesOverdue")
async def test_mail_server_that_refuses_us(world: World) -> None:
    await world.start(*PROCESSES, mail_connections=1)
    world.mail.behave(Mood("MAIL", "550 5.7.1 not you"))
    await world.publish(*(event for n in range(4) for event in (wallet(n, "BTC"), pending(f"ord-{n}", "BTC"))))
    await world.fires("MailServerRefuses", "DeliveriesOverdue")
    world.mail.behave(None)
    await world.clear("MailServerRefuses", "DeliveriesOverdue")


@sees("MailServerAway", "DeliveriesHeld")
async def test_mail_server_that_falls_silent_and_one_that_leaves_us_at_the_end(world: World) -> None:
    await world.start(*PROCESSES, mail_lease_seconds=4, mail_unknown="hold")
    world.mail.behave(Mood("MAIL", STALL))
    await world.publish(wallet(1, "BTC"), pending("ord-1", "BTC"))
    await world.fires("MailServerAway")
    world.mail.behave(Mood("dot", DROP))
    await world.fires("DeliveriesHeld")
    world.mail.behave(None)
    done = await walletq("deliveries", "retry", "--state", "held", settings=world.settings)
    assert done.returncode == 0, done.stderr
    await world.clear("MailServerAway", "DeliveriesHeld")


@sees("DatabaseAway", "ClockMissing")
async def test_database_that_is_killed(world: World) -> None:
    await world.start(*PROCESSES)
    await world.servers.kill("postgres")
    await world.fires("DatabaseAway", times=len(PROCESSES))
    await world.fires("ClockMissing")  # it is there, and does not look
    await world.servers.start("postgres")
    await world.clear("DatabaseAway", "ClockMissing")


@sees("KafkaAway")
async def test_kafka_that_is_frozen(world: World) -> None:
    await world.start(*PROCESSES)
    await world.servers.pause("kafka")
    await world.fires("KafkaAway", times=len(PROCESSES))
    await world.servers.unpause("kafka")
    await world.clear("KafkaAway")


@sees("ProcessDown", "ProcessMissing", "ClockMissing")
async def test_processes_that_are_gone(world: World) -> None:
    await world.start(*PROCESSES)
    await world.end(*PROCESSES)
    await world.fires("ProcessDown", times=len(PROCESSES))
    await world.fires("ProcessMissing", times=2)
    await world.fires("ClockMissing")
    await world.begin(*PROCESSES)
    await world.clear("ProcessDown", "ProcessMissing", "ClockMissing")


@sees("ProcessStuck")
async def test_process_whose_log_nobody_reads(world: World) -> None:
    """It waits for room in the pipe, and its event loop with it."""
    with log_pipe(world.folder / "log") as log:
        await world.start("mail", errors=log.path)
        log.leave()
        async with open_mails(world.settings, world.database) as mails:
            await mails.publish_bytes(b"{}", b"key", times=1_000)
        await world.fires("ProcessStuck")
        log.read_on()
        await world.clear("ProcessStuck")
        await world.end("mail")


@sees("ProcessRestarting")
async def test_process_that_is_killed_again_and_again(world: World) -> None:
    async def begun_at(before: str | None) -> str | None:
        """When the life began that Prometheus sees; None where that is the one before."""
        found = await world.prometheus.query('process_start_time_seconds{job="walletq-clock"}')
        return next((one["value"][1] for one in found if one["value"][1] != before), None)

    await world.start("clock")
    life = await begun_at(None)
    for _ in range(3):
        await world.running["clock"].kill()
        await world.begin("clock")
        life = await until(partial(begun_at, life), 20, "Prometheus to see the clock's new life")
    await world.fires("ProcessRestarting")
    await world.clear("ProcessRestarting", seconds=60)


def who_holds_a_lock() -> str:
    """The query of the runbook."""
    (psql,) = [line for line in Page(DOCS / "runbooks/PartitionStalled.md").console() if line.startswith("psql ")]
    return shlex.split(psql)[-1]


def test_every_alert_is_seen_to_fire_and_to_clear() -> None:
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    assert {rule["alert"] for rule in rules} == SEEN
