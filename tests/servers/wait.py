"""Waiting for a condition, never for a time."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

Value = TypeVar("Value")

POLL_SECONDS = 0.02


@overload
async def until(condition: Callable[[], Awaitable[Value]], timeout: float = ..., what: str = ...) -> Value: ...  # noqa: ASYNC109
@overload
async def until(condition: Callable[[], Value], timeout: float = ..., what: str = ...) -> Value: ...  # noqa: ASYNC109
async def until(
    condition: Callable[[], Any],
    timeout: float = 60,  # noqa: ASYNC109 - the error must say what was waited for
    what: str = "the condition",
) -> Any:
    """Ask every 20 ms until the answer is truthy, and return it.

    Args:
        condition: an ordinary or an async function; an error of it ends the wait.
        timeout: seconds.
        what: what is waited for, for the error.

    Raises:
        AssertionError: says what was waited for, for how long, and the last answer.
    """
    answer: Any = None
    deadline = asyncio.timeout(timeout)
    try:
        async with deadline:
            while True:
                asked = condition()
                answer = await asked if inspect.isawaitable(asked) else asked
                if answer:
                    return answer
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        if not deadline.expired():
            raise  # the condition's own
    raise AssertionError(f"waited {timeout:g} s for {what}; the last answer was {answer!r}")
