"""A child writes its log, stops when asked, and never outlives its parent."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from embedded.child import Child, first_to_end
from tests.servers.wait import until

PROJECT = Path(__file__).parents[2]
RUN_CHILD = """
import sys, time
from pathlib import Path
from embedded.child import Child

child = Child("sleeper", ["sleep", "600"], log=Path(sys.argv[1]), watch_pipe=sys.argv[2] == "pipe")
print(child.pid, flush=True)
time.sleep(600)
"""


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def shell(script: str, log: Path, *, watch_pipe: bool = False) -> Child:
    return Child("script", ["sh", "-c", script], log=log, watch_pipe=watch_pipe)


def run_parent(log: Path, how: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUN_CHILD, str(log), how]
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("how", ["signal", "pipe"])
async def test_child_dies_with_its_parent(tmp_path: Path, how: str) -> None:
    parent = run_parent(tmp_path / "log", how)
    assert parent.stdout is not None
    pid = int(await asyncio.to_thread(parent.stdout.readline))
    await until(lambda: psutil.Process(pid).name() == "sleep")
    parent.kill()
    parent.wait()
    parent.stdout.close()
    await until(lambda: gone(pid))


async def test_watcher_ends_with_the_child(tmp_path: Path) -> None:
    child = shell("exec sleep 600", tmp_path / "log", watch_pipe=True)
    await until(lambda: bool(psutil.Process(child.pid).children()))
    [watcher] = psutil.Process(child.pid).children()
    await child.kill()
    await until(lambda: gone(watcher.pid))


async def test_child_has_a_session_of_its_own(tmp_path: Path) -> None:
    child = shell("ps -o sid= -p $$; exec sleep 600", tmp_path / "log")
    await until(lambda: bool(child.tail()))
    assert int(child.tail()) == child.pid
    assert await child.kill() == -signal.SIGKILL


async def test_child_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    child = shell("trap '' TERM; echo ready; while true; do sleep 0.1; done", tmp_path / "log")
    await until(lambda: child.tail() == "ready")
    assert await child.stop(timeout=0.2) == -signal.SIGKILL


async def test_tail_shows_this_run_only(tmp_path: Path) -> None:
    await shell("echo first", tmp_path / "log").wait()
    child = shell("seq 100; exit 7", tmp_path / "log")
    ended = await first_to_end(lambda: [child])
    assert ended.tail(2) == "99\n100"
    assert "first" not in ended.tail(1000)
    assert "script has stopped (exit code 7)" in str(ended.stopped())


async def test_command_that_does_not_exist_says_so(tmp_path: Path) -> None:
    child = Child("nothing", ["/no/such/program"], log=tmp_path / "log")
    assert await child.wait() == 1
    assert "/no/such/program cannot be run: No such file or directory" in child.tail()


CAPABILITIES = "grep CapEff /proc/self/status | cut -f2; id -un"


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root drops root")
async def test_child_of_root_becomes_an_ordinary_user_without_any_capability(tmp_path: Path) -> None:
    child = Child("script", ["sh", "-c", CAPABILITIES], log=tmp_path / "log", user="nobody", reach=[Path("/bin/sh")])
    assert await child.wait() == 0
    assert child.tail().split() == ["0" * 16, "nobody"]


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root drops root")
async def test_child_of_root_still_reaches_what_lies_in_a_private_folder(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    (private / "program").write_text('#!/bin/sh\nid -un; cat "$0".txt')
    (private / "program").chmod(0o755)
    (private / "program.txt").write_text("reached")
    (private / "program.txt").chmod(0o600)
    program = private / "program"
    child = Child("script", [program], log=tmp_path / "log", user="nobody", reach=[program])
    assert await child.wait() == 0, child.tail()
    assert child.tail().split() == ["nobody", "reached"]
    assert private.stat().st_mode & 0o777 == 0o700
