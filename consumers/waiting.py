"""Waiting for an event, within a time."""

import asyncio


async def first_of(event: asyncio.Event, seconds: float) -> bool:
    """Wait for the event, but no longer than so many seconds. Whether it came."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
