"""The pinned jars of Kafka: coordinate, size and sha256 of each.

`python -m embedded.pins` resolves the coordinates below anew and writes `kafka-jars.txt`.
"""

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KAFKA = "org.apache.kafka:kafka_2.13:4.4.0"
LOG_BINDING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5"
PINS = Path(__file__).with_name("kafka-jars.txt")
HEADER = """\
# Apache Kafka 4.4.0 and everything that it needs at run time: sha256, bytes, Maven coordinate.
# `python -m embedded.pins` writes this list anew from the coordinates in embedded/pins.py.
"""


@dataclass(frozen=True)
class Jar:
    """One pinned jar."""

    coordinate: str
    "group:artifact:version"
    sha256: str
    size: int

    @property
    def file_name(self) -> str:
        """What it is called in the cache; the digest is part of it, so versions never meet."""
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}-{self.sha256[:12]}.jar"

    def is_whole(self, path: Path) -> bool:
        """Whether the file there is this jar, byte for byte."""
        try:
            if path.stat().st_size != self.size:
                return False
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        except OSError:
            return False


def pinned_jars(path: Path = PINS) -> list[Jar]:
    """The pinned jars: lines of sha256, bytes and coordinate."""
    rows = (line.split() for line in path.read_text().splitlines() if line.strip() and line[0] != "#")
    return [Jar(coordinate=coordinate, sha256=digest, size=int(size)) for digest, size, coordinate in rows]


def resolve() -> list[Jar]:
    """What Kafka needs at run time today, downloaded and measured."""
    from jgo.maven import Dependency, MavenContext, PythonResolver

    with tempfile.TemporaryDirectory() as temporary:
        context = MavenContext(repo_cache=Path(temporary))
        direct, transitive = PythonResolver().resolve([Dependency(artifact(context, KAFKA))])
        # The log binding is added by hand: resolved together, its BOM would decide over Kafka's own versions.
        artifacts = [one.artifact for one in (*direct, *transitive)] + [artifact(context, LOG_BINDING)]
        return sorted(map(_measure, artifacts), key=lambda jar: jar.coordinate)


def artifact(context: Any, coordinate: str) -> Any:
    """jgo's artifact of a coordinate."""
    group, name, version = coordinate.split(":")
    return context.project(group, name).at_version(version).artifact()


def _measure(found: Any) -> Jar:
    content = found.resolve().read_bytes()
    name = f"{found.groupId}:{found.artifactId}:{found.version}"
    return Jar(coordinate=name, sha256=hashlib.sha256(content).hexdigest(), size=len(content))


if __name__ == "__main__":
    PINS.write_text(HEADER + "".join(f"{jar.sha256} {jar.size} {jar.coordinate}\n" for jar in resolve()))
