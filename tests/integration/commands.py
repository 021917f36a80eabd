"""The command line as a user runs it: a process, its output and its exit code."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operations.up import environment
from schemas.settings import PREFIX, Settings


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed."""
        return json.loads(self.out)


@dataclass(frozen=True)
class CommandLine:
    """Runs `walletq` in a folder, with settings."""

    settings: Settings
    folder: Path
    out: int = asyncio.subprocess.PIPE
    "Where commands that are started print to."

    async def run(self, *arguments: str, given: str = "", **variables: str) -> Ended:
        """Run a command to its end, which must come within a minute."""
        async with self.started(*arguments, **variables) as process:
            async with asyncio.timeout(60):
                out, err = await process.communicate(given.encode())
            assert process.returncode is not None
            return Ended(process.returncode, out.decode(), err.decode())

    @asynccontextmanager
    async def started(self, *arguments: str, **variables: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A command that runs; killed at the end of the block where it has not ended."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "operations",
            *arguments,
            cwd=self.folder,
            env=inherited | environment(self.settings) | variables,
            stdin=asyncio.subprocess.PIPE,
            stdout=self.out,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()
