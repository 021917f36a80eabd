"""compose.yaml: the servers alone give the commands all that they need, and `docker compose up` is enough."""

import json
import os
import random
import smtplib
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from embedded.ports import HOST
from schemas.catalogue import read_catalogue
from schemas.settings import PREFIX, SECRETS, Settings
from schemas.topics import PARTITIONS, names
from storage.database import connect
from storage.kafka import client_options
from storage.migrations import check_migrated
from tests.servers.choice import VARIABLE
from tests.servers.compose import SERVERS, START_SECONDS, Project, why_no_compose
from tests.servers.containers import why_not
from tests.servers.inbox import Inbox
from tests.servers.processes import walletq
from tests.servers.reaper import removing
from tests.traffic.addresses import address

pytestmark = pytest.mark.containers

ONCE = ("migrate", "topics")
EVENT = {
    "type": "order_status_changed",
    "event_id": "5f0c",
    "order_id": "ord-7f3c",
    "currency": "USDT",
    "network": "TRC-20",
    "status": "pending",
    "amount": "250.00",
    "recipient": {"email": "ann@example.com", "locale": "en"},
    "occurred_at": "2026-11-22T16:00:00Z",
}
ORDERS = 1_000
WALLETS = 130
"Of each of the six pools: some 780 orders get one at once, the others wait."
AMOUNTS = {"BTC": "0.05", "ETH": "0.5", "LTC": "5", "USDT": "250.00"}


def not_asked_for() -> str | None:
    """Why a run on other servers leaves the containers alone."""
    chosen = os.environ.get(VARIABLE)
    return f"{VARIABLE}={chosen}" if chosen in ("embedded", "external") else None


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A project of compose.yaml; nothing of it is left afterwards."""
    if reason := not_asked_for() or why_not() or why_no_compose():
        pytest.skip(reason)
    with removing() as session:
        project = Project(tmp_path, session)
        try:
            yield project
        finally:
            project.compose("down", "--volumes", "--timeout", "5")
        assert project.left() == ""


@pytest.mark.timeout(600)
async def test_commands_work_with_the_servers_alone(project: Project) -> None:
    project.up(*SERVERS)
    settings = project.settings
    for command in (("migrate",), ("topics", "create"), ("topics", "check")):
        done = await walletq(*command, settings=settings)
        assert done.returncode == 0, done.stderr
    await publish(settings, [EVENT])

    project.compose("rm", "--stop", "--force", "--volumes")  # the containers and their anonymous volumes
    project.up(*SERVERS)
    assert await published_orders(settings) == ["ord-7f3c"], "Kafka's records are in its volume"
    database = await connect(settings.need_database())
    await check_migrated(database)  # and the tables are in PostgreSQL's
    await database.close()

    send_mail(settings)
    (mail,) = await Inbox(project.mails, settings.mail_from).wait_for(1)
    assert mail["To"] == "ann@example.com"


@pytest.mark.timeout(600)  # the first time, the image is built
async def test_1000_orders_go_through_while_an_allocator_dies(project: Project) -> None:
    project.compose("build")
    began = time.monotonic()
    project.up()
    assert time.monotonic() - began < START_SECONDS

    pools = read_catalogue(None).pools()
    orders = [(f"order-{number}", *pools[number % len(pools)]) for number in range(ORDERS)]
    await publish(project.settings, wallets(pools) + [pending(*order) for order in orders[: ORDERS // 2]])
    project.compose("kill", "allocator-1")
    await publish(project.settings, [pending(*order) for order in orders[ORDERS // 2 :]])
    project.compose("start", "allocator-1")

    # Each order that ends has had its mail, and leaves its wallet to one that waits.
    inbox = Inbox(project.mails, project.settings.mail_from)
    served, waiting = orders[: WALLETS * len(pools)], orders[WALLETS * len(pools) :]
    await inbox.wait_for(len(served), timeout=90)
    await publish(project.settings, [completed(*order) for order in served[: len(waiting)]])
    mails = await inbox.wait_for(ORDERS, timeout=60)
    assert sorted(mail["To"] for mail in mails) == sorted(f"{order}@example.com" for order, _, _ in orders)

    verified = await walletq("verify", "--wait", "30", settings=project.settings)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_the_image_runs_as_nobody_and_brings_no_compiler_and_no_cache(project: Project) -> None:
    project.compose("build")
    image = project.config()["services"]["clock"]["image"]

    def shell(script: str, *options: str) -> subprocess.CompletedProcess[str]:
        hardened = ("--rm", "--read-only", "--cap-drop=ALL", "--entrypoint=sh")
        command = ["docker", "run", *hardened, *options, image, "-c", script]
        return subprocess.run(command, capture_output=True, text=True)

    assert shell("id -u").stdout.strip() == "10001"
    assert shell("walletq --help").returncode == 0
    assert "Read-only file system" in shell("touch /opt/walletq/new").stderr
    assert shell("command -v cc gcc c++ clang make cargo").stdout == ""
    assert shell("find / -xdev -path '*/.cache/*' -o -xdev -path '/build*'", "--user=0").stdout == ""


def test_services_are_reached_from_loopback_only_and_may_do_no_more_than_they_must(tmp_path: Path) -> None:
    if reason := not_asked_for() or why_no_compose():
        pytest.skip(reason)
    services = Project(tmp_path, "none").config()["services"]
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert published
    assert {port["host_ip"] for port in published} == {HOST}
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}, name
        assert service.get("read_only") or name == "kafka", name
        assert service["healthcheck"].get("test") or name in ONCE, name


def test_services_get_settings_that_exist_and_secrets_as_files(tmp_path: Path) -> None:
    if reason := not_asked_for() or why_no_compose():
        pytest.skip(reason)
    known = {PREFIX + field.upper() for field in Settings.model_fields} | {secret + "_FILE" for secret in SECRETS}
    services = Project(tmp_path, "none").config()["services"]
    for name, service in services.items():
        given = {key: value for key, value in service["environment"].items() if key.startswith(PREFIX)}
        assert given.keys() <= known - set(SECRETS), name
        mounted = {secret["target"] for secret in service.get("secrets", ())}
        assert {value for value in given.values() if value.startswith("/run/secrets")} <= mounted, name


async def publish(settings: Settings, events: Sequence[dict[str, Any]]) -> None:
    """As an upstream service that has the command."""
    published = await walletq("publish", "-", settings=settings, input="".join(json.dumps(e) + "\n" for e in events))
    assert published.returncode == 0, published.stderr


def wallets(pools: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    rng = random.Random(7)
    return [
        _event("wallet_added", currency, network, address=address(network, rng))
        for currency, network in pools
        for _ in range(WALLETS)
    ]


def pending(order: str, currency: str, network: str) -> dict[str, Any]:
    return _event(
        "order_status_changed",
        currency,
        network,
        order_id=order,
        status="pending",
        amount=AMOUNTS[currency],
        recipient={"email": f"{order}@example.com", "locale": "en"},
    )


def completed(order: str, currency: str, network: str) -> dict[str, Any]:
    return _event("order_status_changed", currency, network, order_id=order, status="completed")


def _event(kind: str, currency: str, network: str, **fields: Any) -> dict[str, Any]:
    facts = {"type": kind, "currency": currency, "network": network, **fields}
    return facts | {"event_id": str(uuid.uuid4()), "occurred_at": datetime.now(UTC).isoformat()}


async def published_orders(settings: Settings) -> list[str]:
    """The orders of the events on order-status."""
    topic = names(settings).orders
    async with AIOKafkaConsumer(topic, **client_options(settings), auto_offset_reset="earliest") as consumer:
        ends = await consumer.end_offsets([TopicPartition(topic, partition) for partition in range(PARTITIONS)])
        return [json.loads((await consumer.getone()).value)["order_id"] for _ in range(sum(ends.values()))]


def send_mail(settings: Settings) -> None:
    """Hand a mail over to the mail server."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = settings.mail_from, "ann@example.com", "Here"
    host, port = settings.need_smtp().removeprefix("smtp://").split(":")
    with smtplib.SMTP(host, int(port)) as smtp:
        smtp.send_message(mail)
