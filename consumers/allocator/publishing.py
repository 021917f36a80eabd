"""What an owner has committed and not yet published: it goes out beside the owner's work, in offset order."""

import asyncio
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from aiokafka.errors import KafkaConnectionError

from consumers.allocator.ports import Publisher
from consumers.allocator.state import KeptDeadLetter, Notification

MOST_WAITING = 2
"So many batches may wait for their acknowledgements; whoever brings another one waits too."


class Publishing:
    """Publishes one batch after the other while the next ones are decided.

    Left in good order or with an error, it lets the publish in hand come to its end and drops what is behind it; left
    by a cancellation, it drops that too. Nothing is lost by it: who takes the place next publishes again from the
    watermark.
    """

    def __init__(self, outbox: Publisher, partition: int, published_offset: int) -> None:
        """Args:
        outbox: publishes.
        partition: of the orders' topic.
        published_offset: below it everything is acknowledged already.
        """
        self.published_offset = published_offset
        "Below it every send is acknowledged."
        self._outbox = outbox
        self._partition = partition
        self._line: deque[asyncio.Task[None]] = deque()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        going = [task for task in self._line if not task.done()]
        for task in going if kind is asyncio.CancelledError else going[1:]:
            task.cancel()
        await asyncio.gather(*self._line, return_exceptions=True)  # cancelled, it cancels them and waits

    async def add(self, end: int, kept: Sequence[Notification | KeptDeadLetter]) -> None:
        """Publish this batch, which ends at the offset `end`, after those before it.

        Raises:
            KafkaError: one before it was not published.
        """
        while len(self._line) >= MOST_WAITING:
            await asyncio.wait([self._line[0]])
            self.check()
        self.check()
        before = self._line[-1] if self._line else None
        if before is None and not kept:
            self.published_offset = end
        else:
            self._line.append(asyncio.create_task(self._publish(before, end, kept)))

    def check(self) -> None:
        """Raises KafkaError where a batch was not published."""
        while self._line and self._line[0].done():
            try:
                self._line.popleft().result()
            except asyncio.CancelledError as error:  # not ours: a producer that was stopped
                raise KafkaConnectionError("a publish was given up") from error

    async def done(self) -> None:
        """Wait until everything is published.

        Raises:
            KafkaError: something was not.
        """
        while self._line:
            await asyncio.wait([self._line[0]])
            self.check()

    async def _publish(
        self, before: "asyncio.Task[None] | None", end: int, kept: Sequence[Notification | KeptDeadLetter]
    ) -> None:
        if before is not None:
            await asyncio.wait([before])
            before.result()
        await self._outbox.publish(self._partition, kept)
        self.published_offset = end
