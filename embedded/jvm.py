"""How Kafka's programs are run: which Java, which jars, which flags."""

import asyncio
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from embedded.jars import Report, kafka_jars
from embedded.java import find_java

LOG4J = Path(__file__).with_name("log4j2.properties")
FLAGS = ("-XX:+UseSerialGC", "-Xmx512m", "-Djava.awt.headless=true", f"-Dlog4j2.configurationFile={LOG4J}")
FAST_START = "-XX:TieredStopAtLevel=1"
FIRST_WITH_ARCHIVE = 25


@dataclass(frozen=True)
class Jvm:
    """A Java runtime with Kafka on its class path."""

    java: Path
    jars: Sequence[Path]

    @property
    def archive(self) -> Path | None:
        """Where the archive of loaded classes is, or would be; None where this Java makes none."""
        try:
            release = (self.java.parents[1] / "release").read_text()
            version = next(row for row in release.splitlines() if row.startswith("JAVA_VERSION="))
            major = int(version.partition('"')[2].partition(".")[0])
        except (OSError, StopIteration, ValueError):
            return None
        if major < FIRST_WITH_ARCHIVE:
            return None
        names = "\n".join([str(self.java), release, *map(str, self.jars)])
        return self.jars[0].parent / f"classes-{hashlib.sha256(names.encode()).hexdigest()[:12]}.aot"

    def command(self, *arguments: str, fast_start: bool = True, flags: Sequence[str] = ()) -> list[str | Path]:
        """The command line of a main class and its arguments.

        Args:
            arguments: the main class and what it is told.
            fast_start: start faster, run slower.
            flags: for the Java runtime; in the place of the archive, which they may be there to make.
        """
        if not flags and fast_start and self.archive is not None and self.archive.exists():
            flags = (f"-XX:AOTCache={self.archive}", "-Xlog:aot*=error")
        speed = (FAST_START,) if fast_start else ()
        class_path = os.pathsep.join(map(str, self.jars))
        return [self.java, *FLAGS, *speed, *flags, "-cp", class_path, *arguments]


async def kafka_jvm(report: Report) -> Jvm:
    """The Java of this machine and the jars of the cache, which are fetched where they are missing.

    Raises:
        StackError: there is no Java, or a jar is missing and cannot be fetched.
    """
    java = await asyncio.to_thread(find_java, os.environ)
    return Jvm(java, await kafka_jars(report))
