"""A disk of its own for a database, which can be full from one moment to the next."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from storage.database import connect

SIZE = 4 * 1024**3
"Bytes that it may take; what is not used costs nothing."
OWNER = "nobody"


@dataclass(frozen=True)
class Disk:
    """A tmpfs. Made by `own_disk`."""

    folder: Path

    def fill(self) -> None:
        """From now on it holds what it holds, and nothing more."""
        found = os.statvfs(self.folder)
        self._resize((found.f_blocks - found.f_bfree) * found.f_frsize)

    def clear(self) -> None:
        """There is room again."""
        self._resize(SIZE)

    def _resize(self, size: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", self.folder], check=True)


def why_not() -> str | None:
    """Why there cannot be such a disk; None where there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a disk to fill needs Linux and root"
    with tempfile.TemporaryDirectory() as folder:
        tried = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, check=False)
        if tried.returncode != 0:
            return f"a disk to fill cannot be mounted: {tried.stderr.decode().strip()}"
        subprocess.run(["umount", folder], check=True)
    return None


@contextlib.asynccontextmanager
async def own_disk(admin_url: str, database_url: str) -> AsyncIterator[Disk]:
    """Move a database, to which nobody is connected, to a disk of its own, and back at the end.

    Args:
        admin_url: a superuser, in another database of the same server. The server runs on this machine.
        database_url: the database.
    """
    if reason := why_not():
        pytest.skip(reason)
    with _mounted() as folder:
        async with _tablespace(admin_url, urlsplit(database_url).path.lstrip("/"), folder):
            yield Disk(folder)


@contextlib.contextmanager
def _mounted() -> Iterator[Path]:
    parent = Path(tempfile.mkdtemp(prefix="walletq-disk-"))
    parent.chmod(0o755)  # the server runs as another user
    folder = parent / "data"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder], check=True)
    try:
        shutil.chown(folder, OWNER)
        folder.chmod(0o700)
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
        shutil.rmtree(parent)


@contextlib.asynccontextmanager
async def _tablespace(admin_url: str, database: str, folder: Path) -> AsyncIterator[None]:
    name = f"disk_of_{database}"
    try:
        await _execute(admin_url, f"CREATE TABLESPACE {name} LOCATION '{folder}'")
    except asyncpg.PostgresError as error:
        pytest.skip(f"the database server cannot use a disk of this machine: {error}")
    try:
        await _execute(admin_url, f"ALTER DATABASE {database} SET TABLESPACE {name}")
        yield
    finally:
        await _execute(
            admin_url,
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'",
            f"ALTER DATABASE {database} SET TABLESPACE pg_default",
            f"DROP TABLESPACE {name}",
        )


async def _execute(url: str, *statements: str) -> None:
    connection = await connect(url, application="walletq tests")
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
