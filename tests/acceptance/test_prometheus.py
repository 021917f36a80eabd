"""A real Prometheus scrapes a running walletq: the alerts fire while something is wrong, and clear afterwards."""

import asyncio
import contextlib
import json
import re
import shutil
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import asyncpg
import pytest
import yaml
from pydantic import SecretStr

from embedded.child import Child
from embedded.ports import HOST
from schemas.settings import Settings
from tests.integration.allocator_world import messages, pending, processed, publish, wallet
from tests.integration.mailer_world import MoodyServer
from tests.integration.mailer_world import serving as serving_mails
from tests.servers.endpoint import free_port
from tests.servers.hindrances import largest_notification, locked_partition
from tests.servers.processes import process
from tests.servers.wait import until

DEPLOY = Path(__file__).parents[2] / "deploy/prometheus"
NAMES = ("allocate", "mail", "clock")


class Prometheus:
    """One at work."""

    def __init__(self, port: int) -> None:
        self._url = f"http://{HOST}:{port}"

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query; none before it answers."""
        try:
            found: list[dict[str, Any]] = (await asyncio.to_thread(self._get, expression))["data"]["result"]
        except OSError:
            return []
        return found

    async def firing(self) -> set[str]:
        """The alerts that fire."""
        return {one["metric"]["alertname"] for one in await self.query('ALERTS{alertstate="firing"}')}

    def _get(self, expression: str) -> dict[str, Any]:
        with urlopen(f"{self._url}/api/v1/query?{urlencode({'query': expression})}", timeout=5) as answer:
            document: dict[str, Any] = json.load(answer)
        return document


@contextlib.asynccontextmanager
async def scraping(ports: dict[str, int], folder: Path) -> AsyncIterator[Prometheus]:
    """The project's own configuration and rules, at these ports and in a hurry."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("there is no prometheus; Debian has it in its package prometheus")
    config = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    for scrape in config["scrape_configs"]:
        port = ports[scrape["job_name"].removeprefix("walletq-")]
        scrape["static_configs"] = [{"targets": [f"{HOST}:{port}"]}]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    (folder / "rules.yaml").write_text(in_a_hurry((DEPLOY / "rules.yaml").read_text()))
    listening = free_port()
    command = [
        program,
        f"--config.file={folder}/prometheus.yaml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={HOST}:{listening}",
    ]
    child = Child("prometheus", command, log=folder / "prometheus.log")
    try:
        yield Prometheus(listening)
    finally:
        await child.stop(5)


def in_a_hurry(rules: str) -> str:
    """The same rules with seconds where they have minutes."""
    rules, times = re.subn(r"\b(for|keep_firing_for): \d+[ms]\b", r"\1: 1s", rules)
    rules, windows = re.subn(r"\[\d+m\]", "[10s]", rules)
    rules, limits = re.subn(r"(_seconds\) > )\d+", r"\g<1>2", rules)
    assert times > 15
    assert (windows, limits) == (3, 4)
    return rules


async def fires(prometheus: Prometheus, *alerts: str, seconds: float = 40) -> None:
    async def all_of_them() -> bool:
        return set(alerts) <= await prometheus.firing()

    await until(all_of_them, seconds, f"{alerts} to fire")


async def clear(prometheus: Prometheus, alerts: Collection[str], seconds: float = 40) -> None:
    async def none_of_them() -> bool:
        return not set(alerts) & await prometheus.firing()

    await until(none_of_them, seconds, f"{alerts} to clear")


@pytest.mark.timeout(600)
async def test_alerts_fire_and_clear_on_a_running_stack(
    settings: Settings, database: asyncpg.Connection, tmp_path: Path
) -> None:
    ports = {name: free_port() for name in NAMES}
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving_mails(MoodyServer()))
        settings = settings.model_copy(update={"smtp_url": SecretStr(server.url), "mail_connections": 1})
        running = {
            name: await stack.enter_async_context(process(name, settings, env={"WALLETQ_HTTP_PORT": str(port)}))
            for name, port in ports.items()
        }
        prometheus = await stack.enter_async_context(scraping(ports, tmp_path))

        async def all_up() -> bool:
            return len(await prometheus.query('up{job=~"walletq-.+"} == 1')) == len(NAMES)

        await until(all_up, 30, "all targets to be up")
        await fires(prometheus, "PoolEmergency", "PoolCritical")
        pools = [(code, n) for code in ("BTC", "ETH") for n in range(1, 9)]
        await publish(settings, messages(*(wallet(n, code) for code, n in pools)))
        await processed(settings, database, len(pools))

        async def filled() -> bool:
            alerts = await prometheus.query('ALERTS{alertstate="firing",alertname=~"Pool.*",currency=~"BTC|ETH"}')
            return not alerts

        await until(filled, 30, "the pools' alerts to clear")
        known = {one["metric"]["__name__"] for one in await prometheus.query('{__name__=~"walletq_.+"}')}
        assert {"walletq_pool_waiting_orders", "walletq_partition_lag_records", "walletq_step_seconds_bucket"} <= known

        # Records that are refused; a mail server that refuses us; a partition and an outbox that hang.
        await publish(settings, [message._replace(value=b"{}") for message in messages(*[wallet(1, "LTC")] * 20)])
        await fires(prometheus, "DeadLettersRising")

        server.mail += ["550 5.7.1 not you"] * 4
        await publish(settings, messages(pending("ord-0", "BTC")))
        await fires(prometheus, "MailServerRefuses", "DeliveriesOverdue")
        await largest_notification(settings, 1)
        await publish(settings, messages(pending("ord-1", "ETH")))
        async with locked_partition(settings, database, b"BTC"):
            await publish(settings, messages(*(pending(f"ord-{n}", "BTC") for n in range(2, 10))))
            await fires(prometheus, "PartitionStalled", "OutboxStuck")
        await largest_notification(settings, 1_000_000)
        await fires(prometheus, "PoolEmergency")  # 9 orders for 8 wallets
        await clear(
            prometheus,
            {"PartitionStalled", "OutboxStuck", "MailServerRefuses", "DeliveriesOverdue", "DeadLettersRising"},
            60,
        )

        # A process that is gone, and one that is missed.
        running["clock"].terminate()
        assert await running["clock"].wait() == 0
        await fires(prometheus, "ProcessDown", "ClockMissing")
        assert await prometheus.query("walletq_pool_wallets") == []  # unknown is not zero
        async with process("clock", settings, env={"WALLETQ_HTTP_PORT": str(ports["clock"])}):
            await clear(prometheus, {"ProcessDown", "ClockMissing"})
