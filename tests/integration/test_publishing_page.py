"""The programs of docs/publishing.md, run as they are: what they publish is where it must be, and is applied."""

import asyncio
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from subprocess import PIPE

import asyncpg
import pytest

from embedded.jars import kafka_jars
from operations.up import environment
from schemas.catalogue import read_catalogue
from schemas.settings import Settings
from schemas.topics import names
from tests.integration.allocator_world import allocating, assert_as_the_rules_say, processed
from tests.pages import DOCS, ROOT, Page
from tests.publishing_page import EVENTS, Event, changed, refused
from tests.servers.topics import consumed
from tests.traffic import crc32_partition, right_partition

EXAMPLES = DOCS / "examples"
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

Command = Sequence[str | Path]
Build = Callable[[Path], Awaitable[Command]]


async def python(_folder: Path) -> Command:
    """How publish.py is run."""
    return sys.executable, EXAMPLES / "publish.py"


async def java(folder: Path) -> Command:
    """How Publish.java is run, compiled; skips where there is no JDK."""
    home = os.environ.get("JAVA_HOME")
    javac = (shutil.which("javac", path=Path(home, "bin")) if home else None) or shutil.which("javac")
    if javac is None:
        pytest.skip("there is no JDK: neither JAVA_HOME nor the PATH has a javac")
    class_path = os.pathsep.join(map(str, [folder, *await kafka_jars(print)]))
    await ran([javac, "-Xlint:all", "-Werror", "-d", folder, "-cp", class_path, EXAMPLES / "Publish.java"])
    return Path(javac).with_name("java"), "-XX:TieredStopAtLevel=1", "-cp", class_path, "Publish"


async def go(folder: Path) -> Command:
    """How publish.go is run, compiled; skips where there is no Go, or its modules cannot be had."""
    if shutil.which("go") is None:
        pytest.skip("there is no Go")
    code, _, errors = await ended(["go", "mod", "download"], cwd=EXAMPLES)
    if code != 0:
        pytest.skip(f"franz-go cannot be had: {errors}")
    await ran(["go", "build", "-mod=readonly", "-o", folder / "publish", "publish.go"], cwd=EXAMPLES)
    return (folder / "publish",)


@pytest.mark.parametrize("build", [python, java, go])
async def test_what_the_program_publishes_is_applied_or_refused_as_the_page_says(
    build: Build, settings: Settings, database: asyncpg.Connection, tmp_path: Path
) -> None:
    command = await build(tmp_path)
    everywhere = [changed("cancelled", {"currency": code}) for code in read_catalogue().currencies]
    bad = refused()
    events = [*EVENTS, *everywhere, *(event for _, event in bad)]
    places = await published(settings, command, events)
    records = {(record.partition, record.offset): record for record in await consumed(settings, names(settings).orders)}
    assert len(records) == len(events)
    for place, event in zip(places, events, strict=True):
        record = records[place]
        assert record.key == event["currency"].encode()
        assert record.partition == right_partition(record.key)
        assert json.loads(record.value) == event
        assert list(record.headers) == [("traceparent", TRACEPARENT.encode())]
    async with allocating(settings):
        await processed(settings, database, len(events))
    await assert_as_the_rules_say(settings, database)
    rows = await database.fetch('SELECT partition, "offset", reason FROM dead_letters')
    expected = zip(places[-len(bad) :], bad, strict=True)
    assert {(row["partition"], row["offset"]): row["reason"] for row in rows} == {
        place: reason for place, (reason, _) in expected
    }


async def test_the_readme_publishes_from_python_as_it_says(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (block,) = Page(ROOT / "README.md").blocks("python")
    main = f"async def main(event):\n{textwrap.indent(block, '    ')}"
    program = f"import asyncio, json, sys\n{main}\nfor line in sys.stdin:\n    asyncio.run(main(json.loads(line)))"
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    lines = "".join(json.dumps(event) + "\n" for event in EVENTS)
    await ran([sys.executable, "-c", program], lines, tmp_path)
    said = [json.loads(record.value) for record in await consumed(settings, names(settings).orders)]
    assert sorted(map(_what, said)) == sorted(map(_what, EVENTS))


def _what(event: Event) -> tuple[str, str]:
    """What an event is about, and what happens to it."""
    return event.get("order_id") or event["address"], event.get("status") or event["type"]


@pytest.mark.parametrize(
    ("options", "partition_of"), [({}, crc32_partition), ({"partitioner": "murmur2_random"}, right_partition)]
)
async def test_librdkafka_finds_the_partition_only_with_another_partitioner(
    options: dict[str, str], partition_of: Callable[[bytes], int], settings: Settings
) -> None:
    confluent = pytest.importorskip("confluent_kafka", reason="confluent-kafka comes with requirements/bench.txt")
    producer = confluent.Producer({"bootstrap.servers": settings.need_kafka(), "enable.idempotence": True, **options})
    for currency in read_catalogue().currencies:
        producer.produce(names(settings).orders, b"{}", currency.encode())
    assert await asyncio.to_thread(producer.flush, 30) == 0
    records = await consumed(settings, names(settings).orders)
    assert len(records) == len(read_catalogue().currencies)
    for record in records:
        assert record.partition == partition_of(record.key)


async def published(settings: Settings, command: Command, events: Sequence[Event]) -> list[tuple[int, int]]:
    """Run the program with these events; partition and offset of each, as it says."""
    lines = "".join(json.dumps(event) + "\n" for event in events)
    said = await ran([*command, settings.need_kafka(), names(settings).orders], given=lines)
    places = [tuple(map(int, line.split())) for line in said.splitlines()]
    return [(partition, offset) for partition, offset in places]


async def ran(command: Command, given: str = "", cwd: Path | None = None) -> str:
    """Run a program that must succeed; what it prints."""
    code, printed, errors = await ended(command, given, cwd)
    assert code == 0, f"{command[0]} ended with {code}:\n{printed}{errors}"
    return printed


async def ended(command: Command, given: str = "", cwd: Path | None = None) -> tuple[int, str, str]:
    """Run a program; its exit code, and what it writes to its standard output and error."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd=cwd, env=os.environ | {"TRACEPARENT": TRACEPARENT}
    )
    printed, errors = await process.communicate(given.encode())
    assert process.returncode is not None
    return process.returncode, printed.decode(), errors.decode()
