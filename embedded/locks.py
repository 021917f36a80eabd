"""One owner for a folder, and one life for each server in it: flock(2), which no crash leaves behind."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from embedded.errors import FolderInUse, StackError

POLL_SECONDS = 0.02


@contextlib.contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Own the folder until the end of the block, or of this process: children do not inherit the lock.

    Raises:
        FolderInUse: another process owns it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(descriptor, 20).decode(errors="replace").strip()
            raise FolderInUse(folder, int(pid) if pid.isdigit() else None) from None
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
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        async with asyncio.timeout(patience):
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    await asyncio.sleep(POLL_SECONDS)
                else:
                    return descriptor
    except TimeoutError:
        os.close(descriptor)
        raise StackError(
            f"{name} of an earlier run still lives after {patience:.0f} s",
            where=path,
            advice=f"End it (`fuser {path}` shows which process it is), then start again.",
        ) from None
    except BaseException:
        os.close(descriptor)
        raise
