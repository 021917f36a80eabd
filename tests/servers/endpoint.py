"""The HTTP endpoint of a process under test: what it answers."""

import asyncio
import json
import random
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from embedded.ports import HOST, is_free


def free_port() -> int:
    """A port that nothing listens on, below those of outgoing connections."""
    return next(port for port in random.sample(range(12_000, 19_000), 200) if is_free(port))


class Endpoint:
    """Asks one."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def status(self, path: str) -> int:
        """The status with which it answers; 0 where it does not."""
        return (await asyncio.to_thread(self._get, path))[0]

    async def progress(self) -> dict[str, Any]:
        """What the process says of itself."""
        document: dict[str, Any] = json.loads((await asyncio.to_thread(self._get, "/progress"))[1])
        return document

    async def problems(self) -> set[str]:
        """The names of its problems."""
        return {one["problem"] for one in (await self.progress())["problems"]}

    async def metric(self, name: str, **labels: str) -> float | None:
        """The value of a metric, of the first sample that has these labels; None where there is none."""
        text = (await asyncio.to_thread(self._get, "/metrics"))[1].decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return float(sample.value)
        return None

    def _get(self, path: str) -> tuple[int, bytes]:
        try:
            with urlopen(f"http://{HOST}:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read()
        except HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, b"{}"
