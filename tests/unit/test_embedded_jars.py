"""The cache of Kafka's jars: fetched once, checked always, never half-written."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from embedded import jars as jars_module
from embedded.errors import DownloadFailed
from embedded.jars import cache_folder, kafka_jars
from embedded.pins import Jar, pinned_jars

CONTENT = {"org.example:one:1": b"the first", "org.example:two:2": b"the second"}


class Registry:
    """Answers like the central repository, and counts what it was asked for."""

    def __init__(self, content: dict[str, bytes]) -> None:
        self.content = content
        self.asked: list[str] = []

    def __call__(self, coordinate: str, folder: Path, count: Callable[[int], None]) -> Path:
        self.asked.append(coordinate)
        if coordinate not in self.content:
            raise OSError("no route to host")
        folder.mkdir(parents=True)
        path = folder / "file"
        path.write_bytes(self.content[coordinate])
        count(len(self.content[coordinate]))
        return path


@pytest.fixture(autouse=True)
def pins(monkeypatch: pytest.MonkeyPatch) -> list[Jar]:
    """Two small jars in the place of Kafka's."""
    import hashlib

    jars = [Jar(name, hashlib.sha256(data).hexdigest(), len(data)) for name, data in CONTENT.items()]
    monkeypatch.setattr(jars_module, "pinned_jars", lambda: jars)
    return jars


def ignore(_line: str) -> None:
    """Nobody listens."""


async def test_missing_jars_are_fetched_once_and_told_about(tmp_path: Path) -> None:
    registry, lines = Registry(CONTENT), list[str]()
    paths = await kafka_jars(lines.append, tmp_path, registry)
    assert [path.read_bytes() for path in paths] == list(CONTENT.values())
    assert sorted(registry.asked) == sorted(CONTENT)
    assert "2 jars" in lines[0]
    assert sorted(path.name for path in (tmp_path / "kafka").iterdir()) == sorted(
        [path.name for path in paths] + ["lock"]
    )


async def test_whole_cache_needs_no_network(tmp_path: Path) -> None:
    await kafka_jars(ignore, tmp_path, Registry(CONTENT))
    offline = Registry({})
    await kafka_jars(ignore, tmp_path, offline)
    assert offline.asked == []


@pytest.mark.parametrize("damage", [b"", b"the frist", b"the first and more"])
async def test_damaged_jar_is_fetched_again(tmp_path: Path, damage: bytes) -> None:
    paths = await kafka_jars(ignore, tmp_path, Registry(CONTENT))
    paths[0].write_bytes(damage)
    registry = Registry(CONTENT)
    await kafka_jars(ignore, tmp_path, registry)
    assert registry.asked == ["org.example:one:1"]
    assert paths[0].read_bytes() == b"the first"


async def test_jar_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="not the pinned file"):
        await kafka_jars(ignore, tmp_path, Registry(CONTENT | {"org.example:two:2": b"THE SECOND"}))
    kept = {path.name for path in (tmp_path / "kafka").iterdir()} - {"lock"}
    assert all(name.startswith("one-1-") for name in kept)


async def test_impossible_download_names_the_setting_that_helps(tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="no route to host") as failed:
        await kafka_jars(ignore, tmp_path, Registry({}))
    assert "WALLETQ_KAFKA_BOOTSTRAP_SERVERS" in str(failed.value)


async def test_two_downloads_at_once_fetch_everything_once(tmp_path: Path) -> None:
    registry = Registry(CONTENT)
    await asyncio.gather(*(kafka_jars(ignore, tmp_path, registry) for _ in range(4)))
    assert sorted(registry.asked) == sorted(CONTENT)


async def test_interrupted_download_is_cleared_away(tmp_path: Path) -> None:
    leftover = tmp_path / "kafka" / "download-of-a-killed-process"
    leftover.mkdir(parents=True)
    (leftover / "half.jar").write_bytes(b"the fi")
    await kafka_jars(ignore, tmp_path, Registry(CONTENT))
    assert not leftover.exists()


def test_cache_folder_is_a_setting() -> None:
    assert cache_folder({"WALLETQ_CACHE": "/somewhere"}) == Path("/somewhere")
    assert cache_folder({}).name == "walletq"


def test_pins_name_no_host() -> None:
    text = Path(jars_module.__file__).with_name("kafka-jars.txt").read_text()
    assert "://" not in text
    assert len(pinned_jars()) == 45
