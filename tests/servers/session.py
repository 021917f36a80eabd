"""Which processes this test session has started: each carries a mark in its environment."""

import os
import time
import uuid
from pathlib import Path

import psutil

MARK = "TESTS_OF_WALLETQ"  # not WALLETQ_…: those variables are taken away from the processes under test
LOGS = "LOGS_OF_WALLETQ_TESTS"
"The folder for the logs of the processes under test."
PATIENCE_SECONDS = 5


def mark(logs: Path) -> str:
    """Mark all processes that are started from now on, and return the mark."""
    os.environ[LOGS] = str(logs)
    os.environ[MARK] = str(uuid.uuid4())
    return os.environ[MARK]


def end_left_processes(marked: str) -> list[str]:
    """Kill the marked processes that do not end by themselves, and say which those were."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (left := _marked(marked)) and time.monotonic() < deadline:
        psutil.wait_procs(left, timeout=0.1)
    described = [_describe(process) for process in left]
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=PATIENCE_SECONDS)
    return described


def _marked(marked: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == marked:
                found.append(process)
        except psutil.Error:
            continue  # it has ended, or is not ours to look at
    return found


def _describe(process: psutil.Process) -> str:
    try:
        return f"{process.pid}: {' '.join(process.cmdline())[:200]}"
    except psutil.Error:
        return f"{process.pid}"
