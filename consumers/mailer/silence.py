"""Whether the mail server answers at all, as the attempts to send have found it."""

from consumers.mailer.gate import Clock
from consumers.mailer.verdicts import Verdict


class Silence:
    """For how long every attempt has met silence."""

    def __init__(self, clock: Clock, forgotten_after: float) -> None:
        """An attempt that began so many seconds ago says nothing any more."""
        self._clock = clock
        self._forgotten_after = forgotten_after
        self._since: float | None = None
        "Since the first of the attempts that met silence, after the last that was answered."
        self._last_at = 0.0
        "When the last of them began."

    @property
    def seconds(self) -> float | None:
        """None where the last attempt was answered, or is long ago."""
        now = self._clock()
        if self._since is None or now - self._last_at > self._forgotten_after:
            return None
        return now - self._since

    def note(self, verdict: Verdict, began_at: float) -> float:
        """An attempt that began then has come to this. Seconds of the silence that it has ended; 0 where it has not."""
        lasted = 0.0
        if verdict.is_answered:
            if self._since is not None:
                lasted = self._clock() - self._since
            self._since = None
        else:
            self._since = began_at if self._since is None else self._since
            self._last_at = began_at
        return lasted
