"""The HTTP endpoint: what it answers, and what it says where it cannot listen."""

import asyncio
import json
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from prometheus_client.core import Metric
from pydantic import SecretStr

from monitoring.http import serving
from monitoring.monitor import Monitor, monitoring
from monitoring.samples import End, MailSample, PartitionSample, Sample
from schemas.settings import Settings, SettingsError
from tests.servers.wait import until

HOST = "127.0.0.1"
SETTINGS = Settings(
    database_url=SecretStr("postgresql://u:secret@127.0.0.1:1/d"), kafka_bootstrap_servers="127.0.0.1:1"
)


@pytest.fixture
def port() -> Iterator[int]:
    """Of a process that has just begun, whose servers have not been asked yet."""
    with serving(HOST, 0, Monitor("allocate", SETTINGS).application) as port:
        yield port


def ask(port: int, path: str, method: str = "GET") -> tuple[int, str, bytes]:
    """Status, content type and body."""
    connection = HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read()
    finally:
        connection.close()


def test_process_that_has_just_begun_is_alive_and_not_ready(port: int) -> None:
    assert ask(port, "/livez")[0] == 200
    assert ask(port, "/readyz")[0] == 503
    status, content_type, body = ask(port, "/progress")
    assert (status, content_type) == (200, "application/json")
    progress = json.loads(body)
    assert (progress["process"], progress["alive"], progress["ready"]) == ("allocate", True, False)
    assert {(one["problem"], one["where"]) for one in progress["problems"]} == {
        ("starting", "database"),
        ("starting", "kafka"),
    }


def test_what_is_not_known_has_no_sample(port: int) -> None:
    lines = ask(port, "/metrics")[2].decode().splitlines()
    assert "walletq_ready 0.0" in lines
    assert 'walletq_problem{problem="starting"} 1.0' in lines
    for unknown in ("walletq_server_up", "walletq_pool_wallets", "walletq_tables_up", "walletq_clock_looks"):
        assert not [line for line in lines if line.startswith(unknown)], unknown


async def test_process_that_has_left_its_group_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SAMPLE_SECONDS", "ASK_SECONDS"):
        monkeypatch.setattr(f"monitoring.monitor.{name}", 0.01)
    monitor = Monitor("allocate", SETTINGS.model_copy(update={"http_port": 1}))

    async def ends() -> dict[tuple[str, int], End]:
        return {}

    with serving(HOST, 0, monitor.application) as port:

        async def kafka() -> Any:
            return json.loads((await asyncio.to_thread(ask, port, "/progress"))[2])["servers"]["kafka"] or {}

        async def says(error: str | None) -> bool:
            return bool((await kafka()).get("error", "") == error)

        async with monitor.running():
            with monitor.following(Sample, ends):
                await until(lambda: says(None))
            await until(lambda: says("the process is not connected"))
            assert (await asyncio.to_thread(ask, port, "/metrics"))[2].count(
                b'walletq_server_up{server="kafka"} 0.0'
            ) == 1


async def test_what_kafka_said_is_forgotten_when_it_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SAMPLE_SECONDS", "ASK_SECONDS"):
        monkeypatch.setattr(f"monitoring.monitor.{name}", 0.01)
    monitor = Monitor("mail", SETTINGS.model_copy(update={"http_port": 1}))
    place = PartitionSample("order-status", 3, "take", next_offset=10)
    mail = MailSample(turns=1, in_flight=0, lease_seconds=60, refusals=0, probe_in=0, silent_seconds=None)
    is_away = False

    async def ends() -> dict[tuple[str, int], End]:
        if is_away:
            raise KafkaConnectionError
        return {("order-status", 3): End(10, 10)}

    def samples(name: str) -> list[Metric]:
        return [one for one in monitor.metrics.registry.collect() if one.name == name and one.samples]

    async def has(*names: str, known: bool) -> None:
        await until(lambda: asyncio.sleep(0, all(bool(samples(name)) == known for name in names)))

    measured = ("walletq_partition_lag_records", "walletq_partition_stalled_seconds")
    async with monitor.running():
        with monitor.following(lambda: Sample((place,), mail), ends):
            await has(*measured, known=True)
            assert not samples("walletq_mail_server_silent_seconds")
            is_away = True
            await has(*measured, known=False)


def test_other_paths_and_methods_say_what_there_is(port: int) -> None:
    assert ask(port, "/")[0] == 404
    assert b"/livez, /readyz, /progress, /metrics" in ask(port, "/")[2]
    assert ask(port, "/livez", "POST")[0] == 405
    assert ask(port, "/livez", "HEAD")[::2] == (200, b"")


def test_client_that_says_nothing_holds_up_no_other(port: int) -> None:
    silent = HTTPConnection(HOST, port)
    silent.connect()
    try:
        began = time.monotonic()
        assert ask(port, "/livez")[0] == 200
        assert time.monotonic() - began < 2
    finally:
        silent.close()


def test_port_that_is_taken_names_the_setting(port: int) -> None:
    with (
        pytest.raises(SettingsError, match=f"WALLETQ_HTTP_PORT: cannot listen on port {port} of 127.0.0.1"),
        monitoring("clock", SETTINGS.model_copy(update={"http_port": port})),
    ):
        pass


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "a" * 80])
def test_host_that_is_none_names_the_setting(host: str) -> None:
    with (
        pytest.raises(SettingsError, match=r"WALLETQ_HTTP_HOST: .* is no address"),
        monitoring("clock", SETTINGS.model_copy(update={"http_port": 1, "http_host": host})),
    ):
        pass
