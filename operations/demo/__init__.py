"""`walletq demo`: the whole of walletq at work for half a minute, on real servers and in real processes.

`demo` is the command and `run` its course. What it publishes is in `plan`, what is done in `acts` and `operator`, what
is seen in `look` and `views`, and what is said at the end in `telling`.
"""

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from embedded.errors import StackError
from embedded.jars import kafka_jars
from operations.demo.folder import clear
from operations.demo.run import Failed, run
from operations.demo.views import view_on
from operations.up import Report, until_interrupted
from schemas.settings import PREFIX, Settings
from storage.errors import WalletqError

FOLDER = Path(".walletq") / "demo"
DEADLINE_SECONDS = 120.0
"For everything but the download of Kafka."
FAILED = 1


async def demo(
    *,
    report: Report,
    folder: Path = FOLDER,
    environ: Mapping[str, str] | None = None,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> int:
    """Run the demo to its end, or until Ctrl-C.

    Args:
        report: is told what happens, a line or a few at a time.
        folder: its own folder; what an earlier demo has left there is removed.
        environ: the environment, of which the demo says what it does not use; ours where it is left out.
        deadline_seconds: the longest that it may take, without the download of Kafka.

    Returns:
        The exit code: 0 where everything went well, else 1.
    """
    for line in unused_settings(os.environ if environ is None else environ):
        report(line)
    code = await until_interrupted(_run(report, folder, deadline_seconds))
    if code is None:
        report(f"Interrupted. Everything that the demo has started is stopped; its logs are in {folder / 'logs'}")
    return FAILED if code is None else code


def unused_settings(environ: Mapping[str, str]) -> list[str]:
    """A line about the settings that the environment has, where there are any: the demo uses none of them."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    found = sorted(name for name, value in environ.items() if value and name.removesuffix("_FILE") in known)
    if not found:
        return []
    return [f"The demo has servers and settings of its own, and does not use {', '.join(found)}."]


async def _run(report: Report, folder: Path, deadline_seconds: float) -> int:
    """Run, and where that fails say what failed, at what, and where the logs are."""
    deadline = asyncio.timeout(None)
    began = time.monotonic()
    view = view_on(Console(), report, lambda: time.monotonic() - began)
    try:
        await kafka_jars(report)  # a download has limits of its own
        began = time.monotonic()
        await clear(folder)
        async with deadline:
            deadline.reschedule(asyncio.get_running_loop().time() + deadline_seconds)
            await run(folder, view, report)
        return 0
    except TimeoutError:
        if not deadline.expired():
            raise
        problem = f"It was not done after {deadline_seconds:.0f} s."
    except (StackError, WalletqError, Failed) as error:
        problem = str(error)
    except OSError as error:
        problem = f"{folder} cannot be used: {error}"
    at = f" at: {view.told}" if view.told else "."
    print(f"\nThe demo failed{at}\n{problem}\nThe logs are in {folder / 'logs'}", file=sys.stderr, flush=True)
    return FAILED
