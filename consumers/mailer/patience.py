"""Trying again for as long as a server is away."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
import tenacity
from aiokafka.errors import KafkaError

from consumers.errors import MembershipLost
from storage.database import AWAY
from storage.errors import ServerUnreachable
from storage.waiting import pausing

log = structlog.get_logger(__name__)

SERVER_AWAY = (*AWAY, KafkaError)
LONGEST_WAIT_SECONDS = 2.0
T = TypeVar("T")


async def patiently(
    step: Callable[[], Awaitable[T]],
    *,
    what: str,
    stop: asyncio.Event,
    errors: tuple[type[Exception], ...] = SERVER_AWAY,
) -> T | None:
    """The step's result, once Kafka or the database lets it through; None where `stop` came first.

    Args:
        step: is tried until none of `errors` comes of it.
        what: what the step is, for the log.
    """

    def report(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning("server_away", during=what, attempt=state.attempt_number, error=_name(error))

    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(errors),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=LONGEST_WAIT_SECONDS),
        stop=lambda _: stop.is_set(),
        sleep=pausing(stop),
        before_sleep=report,
    )
    try:
        return await retrying(step)
    except tenacity.RetryError:
        return None


def _name(error: BaseException | None) -> str:
    # Messages of the database may repeat a row; those of Kafka are about servers only.
    about_servers = isinstance(error, KafkaError | MembershipLost | ServerUnreachable)
    return f"{type(error).__name__}: {error}" if about_servers else type(error).__name__
