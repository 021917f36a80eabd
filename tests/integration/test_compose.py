"""compose.yaml gives the commands all the servers that they need."""

import contextlib
import json
import os
import smtplib
import subprocess
import uuid
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from pydantic import SecretStr

from embedded.ports import HOST, Ports
from schemas.settings import Settings
from schemas.topics import PARTITIONS, names
from storage.database import connect
from storage.kafka import client_options
from storage.migrations import check_migrated
from tests.servers.choice import VARIABLE
from tests.servers.containers import why_not
from tests.servers.inbox import Inbox, Mailpit
from tests.servers.processes import walletq
from tests.servers.reaper import LABEL, removing

ROOT = Path(__file__).parents[2]
SERVICES = ("kafka", "postgres", "mailpit")
VOLUMES = ("kafka", "postgres")
START_SECONDS = 90
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


class Project:
    """A compose project of its own, on ports of its own."""

    def __init__(self, folder: Path, session: str) -> None:
        self._labels = folder / "labels.json"
        mark = {"labels": {LABEL: session}}
        self._labels.write_text(
            json.dumps(
                {
                    "services": dict.fromkeys(SERVICES, mark),
                    "volumes": dict.fromkeys(VOLUMES, mark),
                    "networks": {"default": mark},
                }
            )
        )
        ports = Ports(folder)
        self._name = f"walletq-test-{uuid.uuid4().hex[:8]}"
        self._ports = {name: ports.take(name) for name in ("kafka", "postgres", "smtp", "mailpit")}
        self._password = uuid.uuid4().hex

    @property
    def settings(self) -> Settings:
        """The three lines at the top of compose.yaml."""
        database_url = f"postgresql://walletq:{self._password}@{HOST}:{self._ports['postgres']}/walletq"
        return Settings(
            kafka_bootstrap_servers=f"{HOST}:{self._ports['kafka']}",
            database_url=SecretStr(database_url),
            smtp_url=SecretStr(f"smtp://{HOST}:{self._ports['smtp']}"),
        )

    @property
    def mails(self) -> Mailpit:
        """What the mail server has accepted."""
        return Mailpit(f"http://{HOST}:{self._ports['mailpit']}")

    def compose(self, *args: str) -> str:
        """Run `docker compose ARGS…`; its output.

        Raises:
            AssertionError: it failed; the message is what it said.
        """
        files = ("--file", "compose.yaml", "--file", str(self._labels))
        command = ("docker", "compose", "--project-name", self._name, *files, *args)
        environ = {f"TRIAL_{name.upper()}_PORT": str(port) for name, port in self._ports.items()}
        environ["TRIAL_POSTGRES_PASSWORD"] = self._password
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | environ, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def up(self) -> None:
        """Start the services, and wait until they are healthy.

        Raises:
            AssertionError: they are not; the message holds what they said.
        """
        try:
            self.compose("up", "--detach", "--wait", "--wait-timeout", str(START_SECONDS), *SERVICES)
        except AssertionError as error:
            with contextlib.suppress(AssertionError):
                error.add_note(self.compose("logs", "--tail", "30"))
            raise

    def left(self) -> str:
        """The containers and volumes that are there."""
        label = f"label=com.docker.compose.project={self._name}"
        commands = (["docker", "ps", "-aq"], ["docker", "volume", "ls", "-q"], ["docker", "network", "ls", "-q"])
        return "".join(subprocess.check_output([*command, "--filter", label], text=True) for command in commands)


def not_asked_for() -> str | None:
    """Why a run on other servers leaves the containers alone."""
    chosen = os.environ.get(VARIABLE)
    return f"{VARIABLE}={chosen}" if chosen in ("embedded", "external") else None


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """The services of compose.yaml, up and healthy; nothing of them is left afterwards."""
    if reason := not_asked_for() or why_not() or why_no_compose():
        pytest.skip(reason)
    with removing() as session:
        project = Project(tmp_path, session)
        try:
            project.up()
            yield project
        finally:
            project.compose("down", "--volumes", "--timeout", "5")
        assert project.left() == ""


def why_no_compose() -> str | None:
    """Why there is no `docker compose`; None where there is."""
    try:
        subprocess.run(["docker", "compose", "version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return "there is no docker compose"
    return None


@pytest.mark.containers
@pytest.mark.timeout(240)
async def test_commands_work_with_what_compose_starts(project: Project) -> None:
    settings = project.settings
    for command in (("migrate",), ("topics", "create"), ("topics", "check")):
        done = await walletq(*command, settings=settings)
        assert done.returncode == 0, done.stderr
    published = await walletq("publish", "-", settings=settings, input=json.dumps(EVENT) + "\n")
    assert published.returncode == 0, published.stderr

    project.compose("rm", "--stop", "--force", "--volumes")  # the containers and their anonymous volumes
    project.up()
    assert await published_orders(settings) == ["ord-7f3c"], "Kafka's records are in its volume"
    database = await connect(settings.need_database())
    await check_migrated(database)  # and the tables are in PostgreSQL's
    await database.close()

    send_mail(settings)
    (mail,) = await Inbox(project.mails, settings.mail_from).wait_for(1)
    assert mail["To"] == "ann@example.com"


@pytest.mark.containers
def test_services_listen_on_loopback_only(tmp_path: Path) -> None:
    if reason := not_asked_for() or why_no_compose():
        pytest.skip(reason)
    config = json.loads(Project(tmp_path, "none").compose("config", "--format", "json"))
    published = [port for service in config["services"].values() for port in service.get("ports", ())]
    assert published
    assert {port["host_ip"] for port in published} == {HOST}


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
