"""Everything that later starts can do without: Kafka's jars, and an archive of its classes.

`python -m embedded.prepare` makes both, once (some ten seconds after the download). Without the archive all
works the same, but Kafka takes three times as long to start, and twice the processor.
"""

import asyncio
import functools
import hashlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from embedded.child import Child
from embedded.errors import StackError
from embedded.jars import Report, cache_folder, kafka_jars
from embedded.java import ahead_of_time, find_java
from embedded.kafka import Kafka, archive_path
from embedded.ports import Ports

DUMP_SECONDS = 120


async def prepare(report: Report) -> None:
    """Fill the cache: the jars, and the archive where this Java makes one.

    Raises:
        StackError: there is no Java, the download fails, or Kafka does not start.
    """
    java = await asyncio.to_thread(find_java, os.environ)
    jars = await kafka_jars(report)
    archive = archive_path(java, jars)
    if archive.exists() or not ahead_of_time(java):
        return
    report("Preparing Kafka for faster starts, once")
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix="download-") as temporary:
        made = await _make_archive(java, jars, Path(temporary), report)
        os.replace(made, archive)


async def _make_archive(java: Path, jars: Sequence[Path], folder: Path, report: Report) -> Path:
    """Start a Kafka that notes which classes it loads, stop it, and make the archive of them."""
    notes, archive, logs = folder / "classes", folder / "archive", folder / "logs"
    record = ("-XX:AOTMode=record", f"-XX:AOTConfiguration={notes}")
    kafka = Kafka(folder / "kafka", logs, Ports(folder), report, fast_start=True, flags=record)
    child = await kafka.start()
    try:
        await child.stop(DUMP_SECONDS)
    finally:
        await child.kill()
    ...
    return archive


if __name__ == "__main__":
    try:
        asyncio.run(prepare(functools.partial(print, file=sys.stderr)))
    except StackError as problem:
        sys.exit(str(problem))
