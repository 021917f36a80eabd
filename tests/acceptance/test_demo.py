"""`walletq demo` as somebody runs it who has never seen walletq; with its own servers, whatever the other tests use."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from email import message_from_bytes, policy
from json import loads
from pathlib import Path

import psutil
import pytest

from embedded.locks import owned
from operations.demo import FOLDER
from schemas.settings import CONNECTION_FILE, PREFIX

SECONDS = 150
"More than the demo's own deadline: a machine that runs other tests too is slow."
IMPATIENT = """
import asyncio, sys
from operations.demo import demo
sys.exit(asyncio.run(demo(report=print, deadline_seconds=0.2)))
"""

pytestmark = pytest.mark.timeout(SECONDS + 30)


@contextlib.asynccontextmanager
async def started(folder: Path, *command: str) -> AsyncIterator[Process]:
    """The command, in a folder as its working folder; its end is waited for."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX) or name == "WALLETQ_CACHE"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=folder, env=kept, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def ended(process: Process) -> tuple[int, str, str]:
    """Its exit code, and what it has printed that is not read yet."""
    async with asyncio.timeout(SECONDS):
        output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


async def printed(process: Process, text: str) -> None:
    """Wait until it has printed a line with the text."""
    assert process.stdout is not None
    async with asyncio.timeout(SECONDS):
        async for line in process.stdout:
            if text in line.decode():
                return
    raise AssertionError(f"it ended before it printed {text!r}")


def assert_nothing_runs(folder: Path) -> None:
    """No server listens any more."""
    for name, port in loads((folder / FOLDER / "ports.json").read_text()).items():
        with socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", port)) != 0, f"{name} still runs"


async def test_the_demo_shows_queues_mails_and_the_check_and_leaves_nothing_running(tmp_path: Path) -> None:
    connection_file = tmp_path / CONNECTION_FILE
    connection_file.parent.mkdir()
    connection_file.write_text("WALLETQ_KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:1\n")  # of a `walletq up`
    async with started(tmp_path, "-m", "operations", "demo") as process:
        code, output, errors = await ended(process)
    assert (code, errors) == (0, ""), output
    assert "orders 300, waiting 0, ended 300, free wallets 48" in output
    assert re.search(r"demo-\d+ waited \d+\.\d s and got \S+ \(.*\), released by demo-\d+", output)
    assert "demo-0001 was not paid in time: the clock has cancelled it" in output
    assert "was refused and became a dead letter: invalid_event" in output
    assert re.search(r"│ Subject: Example Exchange: \w+ address for your order demo-\d+", output)
    assert re.search(r"I4 +ok ", output)
    assert "300 orders came in for 48 wallets: 48 got one at once, 252 had to wait." in output
    assert "The check found 0 violations." in output
    assert connection_file.read_text() == "WALLETQ_KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:1\n"
    assert_nothing_runs(tmp_path)

    sent = re.search(r"(\d+) mails were sent for (\d+) assignments", output)
    assert sent is not None
    mails = [
        message_from_bytes(path.read_bytes(), policy=policy.default) for path in (tmp_path / FOLDER).rglob("*.eml")
    ]
    assert len(mails) == int(sent[1])
    assert {mail["Content-Language"] for mail in mails} == {"en", "ru"}


async def test_ctrl_c_stops_everything_that_the_demo_has_started(tmp_path: Path) -> None:
    async with started(tmp_path, "-m", "operations", "demo") as process:
        await printed(process, "Adding")
        process.send_signal(signal.SIGINT)
        code, output, errors = await ended(process)
    assert (code, errors) == (1, "")
    assert "Interrupted" in output
    assert_nothing_runs(tmp_path)


async def test_the_death_of_a_process_ends_the_demo_with_its_last_words(tmp_path: Path) -> None:
    async with started(tmp_path, "-m", "operations", "demo") as process:
        await printed(process, "Adding")
        [mailer] = [child for child in psutil.Process(process.pid).children() if child.cmdline()[-1:] == ["mail"]]
        mailer.kill()
        code, _, errors = await ended(process)
    assert code == 1
    assert "The demo failed at: " in errors
    assert "mailer has stopped (killed by SIGKILL)" in errors
    assert str(FOLDER / "logs") in errors
    assert_nothing_runs(tmp_path)


async def test_a_demo_that_takes_too_long_ends_and_says_where_it_was(tmp_path: Path) -> None:
    async with started(tmp_path, "-c", IMPATIENT) as process:
        code, _, errors = await ended(process)
    assert code == 1
    assert "The demo failed at: Starting Kafka" in errors
    assert "It was not done after 0 s." in errors
    assert_nothing_runs(tmp_path)


async def test_a_second_demo_in_the_same_folder_is_refused_and_touches_nothing(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / FOLDER / "events.jsonl").write_text("kept")
    async with owned(tmp_path / FOLDER), started(tmp_path, "-m", "operations", "demo") as process:
        code, _, errors = await ended(process)
    assert code == 1
    assert "is in use" in errors
    assert (tmp_path / FOLDER / "events.jsonl").read_text() == "kept"
