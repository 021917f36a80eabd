"""Waiting for an event, within a time or beside some work."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
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


def pausing(event: asyncio.Event) -> Callable[[float], Awaitable[None]]:
    """Pauses that the event cuts short, as tenacity takes them for its `sleep`."""

    async def pause(seconds: float) -> None:
        await first_of(event, seconds)

    return pause


async def unless(event: asyncio.Event, work: Coroutine[object, object, T]) -> T | None:
    """The result of the work; None where the event came first, and the work was given up."""
    working, coming = asyncio.create_task(work), asyncio.create_task(event.wait())
    try:
        await asyncio.wait([working, coming], return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        coming.cancel()
        await asyncio.gather(working, coming, return_exceptions=True)
