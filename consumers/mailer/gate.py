"""Whether mails may go out: while the server itself refuses us, one probe at a time does, with growing waits."""

from collections.abc import Callable

Clock = Callable[[], float]
"Monotonic seconds."


class Gate:
    """Open, or closed until the server has taken a probe."""

    def __init__(self, clock: Clock, *, base: float = 1.0, ceiling: float = 60.0) -> None:
        self._clock = clock
        self._base = base
        self._ceiling = ceiling
        self._wait = 0.0
        self._closed_at: float | None = None
        self._refusals = 0

    @property
    def is_open(self) -> bool:
        """Nothing stands in the way."""
        return self._closed_at is None

    @property
    def refusals(self) -> int:
        """How often the server has refused us since it last took a mail: 0 while the gate is open. For a gauge."""
        return self._refusals

    @property
    def probe_in(self) -> float:
        """Seconds until the next probe may go."""
        return 0.0 if self._closed_at is None else max(0.0, self._closed_at + self._wait - self._clock())

    def room(self, wanted: int, in_flight: int) -> int:
        """How many mails may be taken on now, of `wanted`, while `in_flight` are on their way."""
        if self._closed_at is None:
            return wanted
        return min(wanted, 1) if in_flight == 0 and self.probe_in == 0 else 0

    def refused(self, began_at: float) -> float | None:
        """The server refused an attempt that began then. Seconds of the wait that begins now, or None where the
        attempt is older than the wait: it says nothing new."""
        if self._is_old(began_at):
            return None
        self._wait = min(self._ceiling, max(self._base, self._wait * 2))
        self._refusals += 1
        self._closed_at = self._clock()
        return self._wait

    def passed(self, began_at: float) -> bool:
        """The server took an attempt that began then as far as its recipient. Whether this opened the gate; one that
        is older than the wait does not, or a server that takes some connections only would be asked without a pause."""
        if self._closed_at is None or self._is_old(began_at):
            return False
        self._closed_at = None
        self._wait = 0.0
        self._refusals = 0
        return True

    def unanswered(self, began_at: float) -> None:
        """An attempt that began then came to nothing before the server took or refused us: the next probe waits as
        long again. A server that has gone away has not changed its mind."""
        if self._closed_at is not None and not self._is_old(began_at):
            self._closed_at = self._clock()

    def _is_old(self, began_at: float) -> bool:
        return self._closed_at is not None and began_at < self._closed_at
