"""Waiting for an event, within a time or beside some work."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")


async def first_of(event: asyncio.Event, seconds: float) -> bool:
    """Wait for the event, but no longer than so many seconds. Whether it came."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def unless(event: asyncio.Event, work: Coroutine[object, object, T]) -> T | None:
    """The result of the work; None where the event came first, and the work was given up."""
    working, coming = asyncio.create_task(work), asyncio.create_task(event.wait())
    try:
        await asyncio.wait([working, coming], return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        coming.cancel()
        working.cancel()
        await asyncio.wait([working])
