"""Health on real servers: each thing that can be wrong is told apart, by name, and ends when its cause does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Literal

import asyncpg
import pytest
from pydantic import SecretStr

from consumers.allocator import run_allocator
from consumers.mailer import run_mailer
from embedded.ports import HOST
from monitoring.http import serving
from monitoring.monitor import Monitor
from monitoring.verdict import Limits
from producers.clock import run_clock
from schemas.settings import Settings
from schemas.topics import names
from tests.integration.allocator_world import messages, pending, processed, publish, status, wallet
from tests.integration.mailer_world import TRON, MoodyServer, open_world
from tests.integration.mailer_world import serving as serving_mails
from tests.servers.endpoint import Endpoint, free_port
from tests.servers.hindrances import largest_notification, locked_partition
from tests.servers.processes import process, walletq
from tests.servers.servers import Servers
from tests.servers.wait import until
from tests.traffic import right_partition

RUNS = {"allocate": run_allocator, "mail": run_mailer, "clock": run_clock}
LIMITS = Limits(stuck=1.5, silent=1.0, overdue=1.0)
USDT = right_partition(b"USDT")


@pytest.fixture(autouse=True)
def _asked_often(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"SAMPLE_SECONDS": 0.1, "ASK_SECONDS": 0.2, "ANSWER_SECONDS": 1.0}.items():
        monkeypatch.setattr(f"monitoring.monitor.{name}", seconds)


@contextlib.asynccontextmanager
async def watched(name: Literal["allocate", "mail", "clock"], settings: Settings) -> AsyncIterator[Endpoint]:
    """A process at work in this one, with its endpoint; it is stopped at the end."""
    settings = settings.model_copy(update={"http_port": free_port()})
    monitor = Monitor(name, settings, LIMITS)
    stop = asyncio.Event()
    with serving(HOST, settings.http_port or 0, monitor.application) as port:
        async with monitor.running():
            running = asyncio.create_task(RUNS[name](settings, stop, monitor))
            try:
                yield Endpoint(port)
            finally:
                stop.set()
                async with asyncio.timeout(20):
                    await running


async def ready(endpoint: Endpoint, seconds: float = 20) -> None:
    async def so() -> bool:
        return await endpoint.status("/readyz") == 200

    await until(so, seconds, "the process to be ready")


async def has(endpoint: Endpoint, problem: str, why: str = "", seconds: float = 20) -> dict[str, Any]:
    """What is said of the problem, once there is that one and no other, and its reason has this in it."""

    async def so() -> dict[str, Any] | None:
        (*others, last) = (await endpoint.progress())["problems"] or [None]
        return last if not others and last and last["problem"] == problem and why in last["why"] else None

    found: dict[str, Any] | None = await until(so, seconds, f"{problem}, alone, {why}")
    assert found is not None
    assert await endpoint.metric("walletq_problem", problem=problem) == 1
    return found


async def shows(endpoint: Endpoint, name: str, value: float, **labels: str) -> None:
    async def so() -> bool:
        return await endpoint.metric(name, **labels) == value

    await until(so, 10, f"{name} to be {value}")


async def test_stuck_partition_is_named_and_comes_back(settings: Settings, database: asyncpg.Connection) -> None:
    async with watched("allocate", settings) as endpoint:
        await publish(settings, messages(wallet(1)))
        await processed(settings, database, 1)
        await ready(endpoint)
        # The watermark is noted a moment after the batch: on the lock it would wait instead of the next batch.
        await until(partial(database.fetchval, "SELECT bool_and(published_offset = next_offset) FROM partitions"))
        async with locked_partition(settings, database, b"USDT"):
            await publish(settings, messages(pending("ord-1")))
            found = await has(endpoint, "partition_stuck", "apply")  # before that it may be slow to fetch
            assert found["where"] == f"{names(settings).orders}/{USDT}"
            assert await endpoint.status("/livez") == 503
            stalled = await endpoint.metric("walletq_partition_stalled_seconds", partition=str(USDT))
            assert stalled is not None
            assert stalled >= LIMITS.stuck
        await ready(endpoint)
        assert await endpoint.status("/livez") == 200
        await shows(endpoint, "walletq_partition_lag_records", 0, partition=str(USDT))


async def test_outbox_that_does_not_get_through_is_named_and_comes_back(
    settings: Settings, database: asyncpg.Connection
) -> None:
    async with watched("allocate", settings) as endpoint:
        await publish(settings, messages(wallet(1)))
        await processed(settings, database, 1)
        await ready(endpoint)
        await largest_notification(settings, 1)  # Kafka answers, and takes none
        try:
            await publish(settings, messages(pending("ord-1")))
            found = await has(endpoint, "outbox_fails", "MessageSizeTooLarge")
            assert found["where"] == f"{names(settings).orders}/{USDT}"
            assert await endpoint.status("/livez") == 200
            age = await endpoint.metric("walletq_outbox_age_seconds", partition=str(USDT))
            assert age is not None
            assert age >= LIMITS.stuck
        finally:
            await largest_notification(settings, 1_000_000)
        await ready(endpoint, 30)
        await shows(endpoint, "walletq_outbox_age_seconds", 0, partition=str(USDT))


async def test_mail_server_that_refuses_us_is_named_and_no_restart_is_asked_for(
    settings: Settings, database: asyncpg.Connection
) -> None:
    moods = MoodyServer(mail=["550 5.7.1 not you"] * 2)
    async with open_world(settings, database) as world, serving_mails(moods) as server:
        settings = settings.model_copy(update={"smtp_url": SecretStr(server.url), "mail_connections": 1})
        async with watched("mail", settings) as endpoint:
            await ready(endpoint)
            said = await world.assigned("ord-1")
            await has(endpoint, "mail_server_refuses")
            assert await endpoint.status("/livez") == 200
            assert await endpoint.metric("walletq_mail_gate_open") == 0
            await world.until(said, "sent")
            await ready(endpoint)
            assert await endpoint.metric("walletq_mail_gate_open") == 1
            assert await endpoint.metric("walletq_mail_server_refusals_total") == 2
            assert await endpoint.metric("walletq_delivery_attempts_total", state="sent") == 1
            for phase in ("connect", "ehlo", "mail", "rcpt", "data", "final_dot"):
                assert await endpoint.metric("walletq_smtp_phase_seconds_count", phase=phase), phase


async def test_mail_server_that_is_away_is_named(settings: Settings, database: asyncpg.Connection) -> None:
    settings = settings.model_copy(update={"smtp_url": SecretStr(f"smtp://{HOST}:{free_port()}")})
    async with open_world(settings, database) as world, watched("mail", settings) as endpoint:
        await ready(endpoint)
        await world.assigned("ord-1")
        found = await has(endpoint, "mail_server_away")
        assert found["seconds"] >= LIMITS.silent
        assert await endpoint.status("/livez") == 200


async def test_mails_that_are_late_are_named_and_the_mailer_is_ready(
    settings: Settings, database: asyncpg.Connection
) -> None:
    async with open_world(settings, database) as world, serving_mails(MoodyServer()) as server:
        slow = {"smtp_url": SecretStr(server.url), "mail_connections": 1, "mail_per_second": 0.5}
        settings = settings.model_copy(update=slow)
        async with watched("mail", settings) as endpoint, watched("clock", settings) as clock:
            await ready(endpoint)
            for n in range(20):
                await world.assigned(f"ord-{n}", address=f"{TRON[:-3]}{n:03}")
            found = await has(endpoint, "deliveries_overdue")
            assert found["seconds"] >= LIMITS.overdue
            assert await endpoint.status("/readyz") == 200
            oldest = await clock.metric("walletq_deliveries_oldest_due_seconds")
            assert oldest is not None
            assert oldest > 0
            assert (await clock.metric("walletq_deliveries", state="due") or 0) > 10


@pytest.mark.parametrize("server", ["postgres", "kafka"])
@pytest.mark.parametrize("name", ["allocate", "clock"])
async def test_server_that_is_away_leaves_a_process_alive(
    name: Literal["allocate", "clock"], server: Literal["postgres", "kafka"], settings: Settings, servers: Servers
) -> None:
    async with watched(name, settings) as endpoint:
        await ready(endpoint)
        if name == "clock":
            assert await endpoint.metric("walletq_pool_wallets", currency="BTC", status="available") == 0
        await servers.pause(server)
        problem = "database_away" if server == "postgres" else "kafka_away"
        await has(endpoint, problem)
        assert await endpoint.status("/livez") == 200
        assert await endpoint.metric("walletq_server_up", server=problem.removesuffix("_away")) == 0
        if name == "clock" and server == "postgres":
            assert await endpoint.metric("walletq_tables_up") == 0
            assert await endpoint.metric("walletq_pool_wallets") is None  # unknown is not zero
        await servers.unpause(server)
        await ready(endpoint, 40)


async def test_pools_and_events_are_counted(settings: Settings, database: asyncpg.Connection) -> None:
    async with watched("allocate", settings) as allocator, watched("clock", settings) as clock:
        log = messages(wallet(1), wallet(2), pending("ord-1"), pending("ord-2"), pending("ord-3"), wallet(1))
        await publish(settings, [*log, *messages(status("nobody", "paid"))])
        await processed(settings, database, 7)
        pool = {"currency": "USDT", "network": "TRC-20"}
        await shows(clock, "walletq_pool_waiting_orders", 1, **pool)
        await shows(clock, "walletq_pool_wallets", 2, status="occupied", **pool)
        await shows(clock, "walletq_pool_wallets", 0, status="available", **pool)
        assert await clock.metric("walletq_pool_critical_wallets", **pool) == 5
        topic = names(settings).orders
        await shows(allocator, "walletq_events_total", 5, topic=topic, outcome="applied")
        await shows(allocator, "walletq_events_total", 1, topic=topic, outcome="no_effect")
        assert await allocator.metric("walletq_dead_letters_total", reason="unknown_order") == 1
        assert await allocator.metric("walletq_dead_letters_total", reason="no_wallet") == 0
        assert await allocator.metric("walletq_batch_records_sum") == 7
        for step in ("gather", "decide", "apply", "publish"):
            assert await allocator.metric("walletq_step_seconds_count", step=step), step
        assert await allocator.metric("walletq_partition_next_offset", partition=str(USDT)) == 7


async def test_records_that_nobody_owns_are_seen_by_the_clock(settings: Settings) -> None:
    topics = names(settings)
    orders = {"topic": topics.orders, "partition": str(USDT)}
    notifications = {"topic": topics.notifications, "partition": str(right_partition(b"ord-1"))}
    async with watched("clock", settings) as clock:
        await shows(clock, "walletq_topic_lag_records", 0, **orders)
        await publish(settings, messages(wallet(1), pending("ord-1")))
        await shows(clock, "walletq_topic_lag_records", 2, **orders)
        await shows(clock, "walletq_topic_next_offset", 0, **orders)
        async with watched("allocate", settings):
            await shows(clock, "walletq_topic_lag_records", 0, **orders)
            await shows(clock, "walletq_topic_next_offset", 2, **orders)
            await shows(clock, "walletq_topic_lag_records", 1, **notifications)


async def test_every_process_answers_on_its_port_and_stops_in_good_order(settings: Settings) -> None:
    async def answers_and_stops(name: str) -> None:
        endpoint = Endpoint(free_port())
        async with process(name, settings, env={"WALLETQ_HTTP_PORT": str(endpoint.port)}) as running:
            await ready(endpoint)
            assert await endpoint.metric("walletq_info", process=name) == 1
            running.terminate()
            assert await running.wait() == 0

    await asyncio.gather(*map(answers_and_stops, RUNS))


async def test_port_that_is_taken_is_bad_usage_and_named(settings: Settings) -> None:
    with serving(HOST, 0, lambda *_: []) as port:
        done = await walletq("clock", settings=settings, env={"WALLETQ_HTTP_PORT": str(port)})
    assert done.returncode == 2
    assert f"WALLETQ_HTTP_PORT: cannot listen on port {port}" in done.stderr


async def test_libraries_are_not_even_loaded_where_nobody_asks(settings: Settings) -> None:
    async with process("clock", settings, env={"PYTHONVERBOSE": "1"}) as clock:
        await clock.logged("clock_started")
        clock.terminate()
        assert await clock.wait() == 0
        loaded = clock.log
    assert "import 'asyncpg'" in loaded
    assert "prometheus_client" not in loaded
    assert "opentelemetry" not in loaded
