"""What later starts can be spared: the download of Kafka's jars, and the loading of its classes one by one.

`python -m embedded.prepare` fills the cache once, in some ten seconds after the download. Without the archive of
classes all works the same, but Kafka takes three times as long to start, and twice the processor.
"""

import asyncio
import functools
import os
import shutil
import sys
import tempfile
from pathlib import Path

from embedded.child import Child
from embedded.errors import StackError
from embedded.jars import Report
from embedded.jvm import Jvm, kafka_jvm
from embedded.kafka import Kafka
from embedded.locks import earlier_life_over
from embedded.ports import Ports

PATIENCE_SECONDS = 300


async def prepare(report: Report) -> None:
    """Fill the cache: the jars, and the archive where this Java makes one. Nothing to do: nothing happens.

    Raises:
        StackError: there is no Java, the download fails, or Kafka does not start.
    """
    jvm = await kafka_jvm(report)
    archive = jvm.archive
    if archive is None or archive.exists():
        return
    lock = await earlier_life_over(archive.parent, "prepare", PATIENCE_SECONDS)
    try:
        for leftover in archive.parent.glob("prepare-*"):  # of a process that was killed: we hold the lock
            shutil.rmtree(leftover, ignore_errors=True)
        if not archive.exists():
            report("Preparing Kafka for faster starts, once")
            with tempfile.TemporaryDirectory(dir=archive.parent, prefix="prepare-") as temporary:
                os.replace(await _make_archive(jvm, Path(temporary), report), archive)
    finally:
        os.close(lock)


async def _make_archive(jvm: Jvm, folder: Path, report: Report) -> Path:
    """Start a Kafka that notes which classes it loads, stop it, and make the archive from its notes."""
    notes, archive, logs = folder / "notes", folder / "archive", folder / "logs"
    record = ("-XX:AOTMode=record", f"-XX:AOTConfiguration={notes}")
    kafka = await Kafka(folder / "kafka", logs, Ports(folder), report, flags=record).start()
    try:
        await kafka.stop(PATIENCE_SECONDS)
    finally:
        await kafka.kill()
    create = ("-XX:AOTMode=create", f"-XX:AOTConfiguration={notes}", f"-XX:AOTCache={archive}")
    dump = Child("kafka's archive", jvm.command(flags=create), log=logs / "archive.log")
    try:
        if await dump.wait() != 0 or not archive.exists():
            raise dump.stopped("could not be made")
    finally:
        await dump.kill()
    return archive


if __name__ == "__main__":
    try:
        asyncio.run(prepare(functools.partial(print, file=sys.stderr)))
    except StackError as problem:
        sys.exit(str(problem))
