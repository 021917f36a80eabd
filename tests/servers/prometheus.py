"""A real Prometheus with the project's own configuration and rules, in a hurry."""

import asyncio
import contextlib
import json
import re
import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

from embedded.child import Child
from embedded.ports import HOST
from tests.servers.endpoint import free_port

DEPLOY = Path(__file__).parents[2] / "deploy/prometheus"
RULES = DEPLOY / "rules.yaml"


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

    async def lacks(self, selector: str) -> bool:
        """Whether there is no sample; False where it does not answer."""
        return bool(await self.query(f"absent({selector})"))

    async def firing(self, name: str) -> list[Mapping[str, str]]:
        """The labels of each alert of this name that fires."""
        return [one["metric"] for one in await self.query(firing(name))]

    def _get(self, expression: str) -> dict[str, Any]:
        with urlopen(f"{self._url}/api/v1/query?{urlencode({'query': expression})}", timeout=5) as answer:
            document: dict[str, Any] = json.load(answer)
        return document


def firing(alert: str) -> str:
    """Selects what fires of an alert."""
    return f'ALERTS{{alertstate="firing",alertname="{alert}"}}'


@contextlib.asynccontextmanager
async def scraping(ports: Mapping[str, int], folder: Path) -> AsyncIterator[Prometheus]:
    """Prometheus at work, where the process NAME of the job walletq-NAME answers at its port."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("there is no prometheus; Debian has it in its package prometheus")
    config = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    for scrape in config["scrape_configs"]:
        port = ports[scrape["job_name"].removeprefix("walletq-")]
        scrape["static_configs"] = [{"targets": [f"{HOST}:{port}"]}]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    (folder / "rules.yaml").write_text(in_a_hurry(RULES.read_text()))
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
    """The same rules with shorter times: 1 s for how long something lasts, 2 s for a limit and for each minute of a
    window."""
    rules = re.sub(r"\b(for|keep_firing_for): [1-9]\d*[ms]\b", r"\1: 1s", rules)
    rules = re.sub(r"\[(\d+)m\]", lambda window: f"[{2 * int(window[1])}s]", rules)
    return re.sub(r"(_seconds\) > )\d+", r"\g<1>2", rules)
