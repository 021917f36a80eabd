"""The demo's own folder: empty at the start of each run, and full of things to look at when it is over."""

import asyncio
import os
import shutil
import tempfile
from datetime import datetime
from pathlib import Path

from embedded.locks import owned
from operations.demo.plan import Plan
from schemas.events import Event, encode_event

KEPT = ("lock",)


async def clear(folder: Path) -> None:
    """Remove what an earlier demo has left there.

    Raises:
        FolderInUse: a demo runs there now.
        OSError: the folder cannot be written to.
    """
    async with owned(folder):
        await asyncio.to_thread(_empty, folder)


def _empty(folder: Path) -> None:
    # Moved away first: a server of a demo that was killed a moment ago may still write its last.
    old = Path(tempfile.mkdtemp(prefix="old-", dir=folder))
    for path in folder.iterdir():
        if path != old and path.name not in KEPT:
            os.replace(path, old / path.name)
    shutil.rmtree(old, ignore_errors=True)


def keep_events(path: Path, plan: Plan, now: datetime) -> None:
    """Write the plan as JSON lines that `walletq publish` takes; there all orders have their full time."""
    events: list[Event] = [
        *(wallet.added(now) for wallet in plan.wallets),
        *(order.pending(now, expires=False) for order in plan.orders),
    ]
    path.write_bytes(b"".join(encode_event(event) + b"\n" for event in events))


def mail_to(inbox: Path, address: str) -> bytes | None:
    """The first mail in the inbox to this address; None where there is none."""
    wanted = f"X-RcptTo: {address}\r\n".encode()
    for path in sorted(inbox.glob("*.eml")):
        content = path.read_bytes()
        if wanted in content:
            return content
    return None
