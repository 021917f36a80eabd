"""What the benchmark ran on, and with what."""

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from benchmarks.servers import Bench
from embedded.java import find_java
from embedded.pins import KAFKA

LIBRARIES = ("aiokafka", "asyncpg", "uvloop", "orjson", "pydantic", "confluent-kafka")
DURABILITY = ("fsync", "synchronous_commit", "full_page_writes")


async def describe(bench: Bench) -> Mapping[str, Any]:
    """The machine, the servers and the libraries."""
    connection = await asyncpg.connect(bench.database_url)
    try:
        postgres = {name: await connection.fetchval(f"SHOW {name}") for name in ("server_version", *DURABILITY)}
    finally:
        await connection.close()
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_mb": round(psutil.virtual_memory().total / 1e6),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "load_before": [round(one, 2) for one in os.getloadavg()],
        "python": platform.python_version(),
        "kafka": KAFKA.rpartition(":")[2],
        "java": _java(),
        "postgresql": postgres.pop("server_version"),
        "postgresql_settings": postgres,
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _java() -> str:
    answer = subprocess.run([find_java(os.environ), "-version"], capture_output=True, text=True, check=True)
    return answer.stderr.splitlines()[0]
