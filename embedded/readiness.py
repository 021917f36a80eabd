"""Wait until a child serves, or say why it does not."""

import asyncio
from collections.abc import Awaitable, Callable

from embedded.child import Child
from embedded.errors import StackError

POLL_SECONDS = 0.03


async def until_serving(
    child: Child, serves: Callable[[], Awaitable[bool]], *, seconds: float = 60, advice: str | None = None
) -> Child:
    """Ask until it serves, and return it; where it does not, nothing of it is left running.

    Raises:
        ServerStopped: it ended instead.
        StackError: it does not serve after that many seconds.
    """
    try:
        async with asyncio.timeout(seconds):
            while child.alive:
                if await serves():
                    return child
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        await child.kill()
        raise StackError(
            f"{child.name} does not serve {seconds:.0f} s after its start",
            where=child.log,
            details=child.tail(),
            advice=advice,
        ) from None
    except BaseException:
        await child.kill()
        raise
    raise child.stopped("could not start", advice=advice)
