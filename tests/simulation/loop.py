"""An event loop in virtual time. Nothing waits: where nothing is ready, the clock jumps to the next timer."""

import asyncio
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

Result = TypeVar("Result")


class Stuck(AssertionError):
    """Nothing is ready, and nothing will ever be."""


def simulate(main: Coroutine[Any, Any, Result]) -> Result:
    """Run `main` in a new loop, at time 0."""
    return SimulatedLoop().run(main)  # type: ignore[abstract] # as much of a loop as is needed


class SimulatedLoop(asyncio.AbstractEventLoop):
    """As much of an event loop as asyncio's own tasks, locks and timeouts need; no sockets, no threads, no signals.

    What is ready runs in the order in which it became ready, as in asyncio's loop. Two plans differ in the delays
    that their calls take, so all order comes from the plan.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timer_count = 0
        self._failure: BaseException | None = None

    def run(self, main: Coroutine[Any, Any, Result]) -> Result:
        """Run until `main` is done; what is left then is cancelled."""
        before = events._get_running_loop()  # noqa: SLF001 # documented for those who write an event loop
        events._set_running_loop(self)  # noqa: SLF001
        try:
            task = self.create_task(main)
            while not task.done():
                self._turn()
            self._cancel_all()
            result: Result = task.result()
            return result
        finally:
            events._set_running_loop(before)  # noqa: SLF001

    def _cancel_all(self) -> None:
        """Some clean up with calls of their own, in which they are cancelled again."""
        while tasks := asyncio.all_tasks(self):
            for task in tasks:
                task.cancel()
            self._turn()

    def _turn(self) -> None:
        if not self._ready:
            if not self._timers:
                raise Stuck("every task waits, and no timer runs")
            self._now, _, timer = heapq.heappop(self._timers)
            self._ready.append(timer)
        while self._ready:
            handle = self._ready.popleft()
            if not handle.cancelled():
                handle._run()  # noqa: SLF001
        if self._failure is not None:
            raise self._failure

    def time(self) -> float:
        return self._now

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._timer_count += 1
        heapq.heappush(self._timers, (max(when, self._now), self._timer_count, timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are passed over when their time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> Any:
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Where nobody awaits a failure, the simulation has failed."""
        self._failure = context.get("exception") or AssertionError(context["message"])

    async def shutdown_asyncgens(self) -> None:
        """Nothing to do: async generators end with their tasks."""
