"""A project of compose.yaml, on ports and with passwords of its own."""

import contextlib
import json
import os
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from embedded.ports import HOST, Ports
from schemas.settings import Settings
from tests.servers.inbox import Mailpit
from tests.servers.reaper import LABEL

ROOT = Path(__file__).parents[2]
SERVERS = ("kafka", "postgres", "mailpit")
START_SECONDS = 120


class Project:
    """Nothing runs until `up`."""

    def __init__(self, folder: Path, session: str) -> None:
        """Choose ports and passwords.

        Args:
            folder: keeps them.
            session: all that the project makes is removed at its end; see `reaper.removing`.
        """
        ports = Ports(folder)
        self._name = f"walletq-test-{uuid.uuid4().hex[:8]}"
        self._ports = {name: ports.take(name) for name in ("kafka", "postgres", "smtp", "mailpit")}
        self._password = uuid.uuid4().hex
        self._secrets = folder / "secrets"
        shutil.copytree(ROOT / "deploy" / "trial", self._secrets)
        (self._secrets / "postgres-password").write_text(self._password)
        (self._secrets / "database-url").write_text(self._database_url("postgres", 5432))
        self._labels = folder / "labels.json"
        self._labels.write_text("{}")
        config, mark = self.config(), {"labels": {LABEL: session}}
        self._labels.write_text(
            json.dumps({kind: dict.fromkeys(config[kind], mark) for kind in ("services", "volumes", "networks")})
        )

    @property
    def settings(self) -> Settings:
        """The three lines at the top of compose.yaml."""
        return Settings(
            kafka_bootstrap_servers=f"{HOST}:{self._ports['kafka']}",
            database_url=SecretStr(self._database_url(HOST, self._ports["postgres"])),
            smtp_url=SecretStr(f"smtp://{HOST}:{self._ports['smtp']}"),
        )

    @property
    def mails(self) -> Mailpit:
        """What the mail server has accepted."""
        return Mailpit(f"http://{HOST}:{self._ports['mailpit']}")

    def config(self) -> dict[str, Any]:
        """compose.yaml as compose reads it."""
        config: dict[str, Any] = json.loads(self.compose("config", "--format", "json"))
        return config

    def compose(self, *args: str) -> str:
        """Run `docker compose ARGS…`; its output.

        Raises:
            AssertionError: it failed; the message is what it said.
        """
        files = ("--file", "compose.yaml", "--file", str(self._labels))
        command = ("docker", "compose", "--project-name", self._name, *files, *args)
        environ = {f"TRIAL_{name.upper()}_PORT": str(port) for name, port in self._ports.items()}
        environ["TRIAL_SECRETS"] = str(self._secrets)
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | environ, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def up(self, *services: str) -> None:
        """Start these services, or all, with what they depend on, and wait until they are healthy.

        Raises:
            AssertionError: they are not; the message holds what they said.
        """
        try:
            self.compose("up", "--detach", "--wait", "--wait-timeout", str(START_SECONDS), *services)
        except AssertionError as error:
            with contextlib.suppress(AssertionError):
                error.add_note(self.compose("logs", "--tail", "30"))
            raise

    def left(self) -> str:
        """The containers, volumes and networks that are there."""
        label = f"label=com.docker.compose.project={self._name}"
        commands = (["docker", "ps", "-aq"], ["docker", "volume", "ls", "-q"], ["docker", "network", "ls", "-q"])
        return "".join(subprocess.check_output([*command, "--filter", label], text=True) for command in commands)

    def _database_url(self, host: str, port: int) -> str:
        return f"postgresql://walletq:{self._password}@{host}:{port}/walletq"


def why_no_compose() -> str | None:
    """Why there is no `docker compose`; None where there is."""
    try:
        subprocess.run(["docker", "compose", "version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return "there is no docker compose"
    return None
