"""Kafka Streams with exactly_once_v2: the allocator as a topology of one processor, its state in RocksDB.

The Java sources are in the folder of the same name. Records of a currency come to one task, which keeps its orders,
its wallets and, for each pool, two numbered lines (waiting orders, free wallets) in local stores. A commit, every
100 ms by default, is one Kafka transaction of a thread: its notifications, the changes of its stores (their
changelogs, which are topics) and its offsets. So each event counts once, and whoever reads `read_committed` sees each
notification once; after a crash the stores are built again from the changelogs.

It validates events as the design says, with two exceptions that good traffic does not meet: addresses are not checked
against their network, and a member that cannot be read is never forgiven, not even where the event does not need it.
An event that would be a dead letter is a line in the log and has no other effect. There is no database, no audit trail
and no cool-down.

What a good user would set is set: caches on the stores, static members, short waits for partitions without news, large
batches, enough heap, Java's full compilation. Everything else is the default of the library.
"""

import asyncio
import contextlib
import os
import shutil
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from benchmarks.contenders import Run
from embedded.child import Child
from embedded.download import download, fetch_with_jgo
from embedded.errors import DownloadFailed, StackError
from embedded.jars import cache_folder, kafka_jars
from embedded.java import OLDEST, find_java
from embedded.pins import pinned_jars
from embedded.stack import to_stderr
from schemas.catalogue import read_catalogue

SOURCES = Path(__file__).with_suffix("")
PINS = SOURCES / "jars.txt"
MAIN = "kafka_streams.Main"
FLAGS = ("-Xms1g", "-Xmx1g", "--enable-native-access=ALL-UNNAMED")
FROM_KAFKA = (
    "jackson-annotations",
    "jackson-core",
    "jackson-databind",
    "lz4-java",
    "slf4j-api",
    "snappy-java",
    "zstd-jni",
)
"What Kafka Streams needs and Kafka brings, each by its artifact."
STOP_SECONDS = 10


class KafkaStreams:
    """One process with two threads."""

    name = "Kafka Streams, exactly_once_v2"

    def why_not(self) -> str | None:
        """Which part of a JDK is missing."""
        if _javac() is None:
            return f"there is no javac: a JDK of {OLDEST} or newer, by JAVA_HOME or on the PATH, would bring it"
        try:
            find_java(os.environ)
        except StackError as error:
            return error.what
        return None

    async def prepare(self, run: Run) -> None:
        """Fetch the jars that are missing, compile, and write down the catalogue and the command.

        Raises:
            StackError: the jars cannot be had, or the compiler fails.
        """
        classes, catalogue = run.folder / "classes", run.folder / "catalogue.json"
        jars = await _jars()
        await _compile(classes, jars)
        catalogue.write_text(read_catalogue().content)
        java = (find_java(os.environ), *FLAGS, "-cp", _class_path([classes, *jars]), MAIN)
        arguments = (run.bootstrap_servers, run.orders, run.notifications, catalogue, run.folder / "state")
        _command_file(run).write_text("\n".join(map(str, (*java, *arguments))))

    @contextlib.asynccontextmanager
    async def running(self, run: Run) -> AsyncIterator[Sequence[int]]:
        """The process; its log is in the run's folder. After a crash it goes on from its last commit."""
        command = _command_file(run).read_text().split("\n")
        child = Child(self.name, command, log=run.folder / "kafka-streams.log")
        try:
            yield [child.pid]
        finally:
            await child.stop(STOP_SECONDS)

    def versions(self) -> Mapping[str, str]:
        """The pinned jars."""
        return {name: version for _, name, version in (jar.coordinate.split(":") for jar in pinned_jars(PINS))}


CONTENDERS = (KafkaStreams(),)


def _command_file(run: Run) -> Path:
    return run.folder / "command"


async def _jars() -> list[Path]:
    """Those of jars.txt, fetched where they are missing, and those that Kafka brings."""
    of_kafka = zip(pinned_jars(), await kafka_jars(to_stderr), strict=True)
    shared = [path for jar, path in of_kafka if jar.coordinate.split(":")[1] in FROM_KAFKA]
    return [*await asyncio.to_thread(_fetched), *shared]


def _fetched() -> list[Path]:
    folder = cache_folder(os.environ) / "kafka-streams"
    jars = pinned_jars(PINS)
    if missing := [jar for jar in jars if not jar.is_whole(folder / jar.file_name)]:
        size = sum(jar.size for jar in missing) / 1e6
        to_stderr(f"Downloading Kafka Streams, once: {len(missing)} jars, {size:.1f} MB, into {folder}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            download(missing, folder, fetch_with_jgo, threading.Event(), what="Kafka Streams")
        except (OSError, RuntimeError) as error:
            raise DownloadFailed(f"Kafka Streams is not in {folder} and cannot be fetched: {error}") from error
    return [folder / jar.file_name for jar in jars]


async def _compile(classes: Path, jars: Sequence[Path]) -> None:
    javac = _javac()
    assert javac is not None, "why_not() says so"
    options = ("--release", str(OLDEST), "-Xlint:all,-serial", "-Werror", "-d", classes, "-cp", _class_path(jars))
    compiler = await asyncio.create_subprocess_exec(
        javac,
        *options,
        *sorted(SOURCES.glob("*.java")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await compiler.communicate()
    if compiler.returncode != 0:
        raise StackError(f"{javac} cannot compile {SOURCES}", details=said.decode(errors="replace"))


def _javac() -> str | None:
    """The compiler of JAVA_HOME, else of the PATH."""
    home = os.environ.get("JAVA_HOME")
    return (shutil.which("javac", path=Path(home, "bin")) if home else None) or shutil.which("javac")


def _class_path(entries: Sequence[Path]) -> str:
    return os.pathsep.join(map(str, entries))
