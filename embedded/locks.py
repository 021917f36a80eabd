"""One owner for a folder, and one life for each server in it: flock(2), which no crash leaves behind."""

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

from embedded.errors import FolderInUse, StackError

POLL_SECONDS = 0.02


@contextlib.asynccontextmanager
async def owned(folder: Path, patience: float = 1) -> AsyncIterator[None]:
    """Own the folder until the end of the block, or of this process: children do not inherit the lock.

    The patience is for an owner who was killed a moment ago and is not quite gone.

    Raises:
        FolderInUse: another process owns it.
    """
    descriptor = _open(folder, "lock")
    try:
        if not await _lock(descriptor, patience):
            pid = os.read(descriptor, 20).decode(errors="replace").strip()
            raise FolderInUse(folder, int(pid) if pid.isdigit() else None)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)


async def earlier_life_over(folder: Path, name: str, patience: float = 10) -> int:
    """A locked file descriptor for the next life of a server, which hands it to the child and its children.

    After kill -9 of us the server of the last run is still on its way out for a moment: starting another one on
    its data before the last process has let go would be refused, or worse.

    Raises:
        StackError: processes of the last run still live after `patience` seconds.
    """
    path = folder / f"{name}.lock"
    descriptor = _open(folder, path.name)
    try:
        if await _lock(descriptor, patience):
            return descriptor
        raise StackError(
            f"{name} of an earlier run still lives after {patience:.0f} s",
            where=path,
            advice=f"End it (`fuser {path}` shows which process it is), then start again.",
        )
    except BaseException:
        os.close(descriptor)
        raise


def _open(folder: Path, name: str) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    return os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o600)


async def _lock(descriptor: int, patience: float) -> bool:
    """Lock it; False where another process still holds it after `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(POLL_SECONDS)
        else:
            return True
