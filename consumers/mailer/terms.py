"""The limits by which a mailer works: how many mails are under way, and how long each step of one may take."""

import math
from dataclasses import dataclass, field
from typing import Literal

from consumers.mailer.endings import Backoff
from schemas.catalogue import Catalogue
from schemas.settings import Settings

AHEAD = 8
"Deliveries claimed for each connection, so that none waits for the database."
LONGEST_SEND_SECONDS = 30.0


@dataclass(frozen=True)
class Terms:
    """The limits of one mailer."""

    connections: int
    lease_seconds: float
    unknown: Literal["resend", "hold"]
    backoff: Backoff = field(default_factory=Backoff)
    stop_seconds: float = 8.0
    outage_seconds: float = 5.0
    "After a silence of so long, what met it need not wait for its next attempt."
    per_second: float | None = None
    per_domain: float | None = None
    cool_down_seconds: float = math.inf
    "The shortest after which a released wallet that was kept aside may be the next order's."

    @classmethod
    def of(cls, settings: Settings, catalogue: Catalogue) -> "Terms":
        """Those of the settings and the catalogue."""
        shortest = catalogue.shortest_cool_down
        return cls(
            settings.mail_connections,
            settings.mail_lease_seconds,
            settings.mail_unknown,
            per_second=settings.mail_per_second,
            per_domain=settings.mail_per_domain_per_second,
            cool_down_seconds=shortest.total_seconds() if shortest else math.inf,
        )

    @property
    def in_flight(self) -> int:
        """The most deliveries under lease. Where an unknown outcome is held none is claimed ahead: after a crash
        every claimed delivery counts as one. Nor are more than can begin in time under the overall limit."""
        most = self.connections * (AHEAD if self.unknown == "resend" else 1)
        return most if self.per_second is None else max(1, min(most, int(self.per_second * self.begin_seconds / 2)))

    @property
    def send_seconds(self) -> float:
        """Within which a mail is handed over: well below the lease, or another mailer would send the same mail."""
        return min(LONGEST_SEND_SECONDS, self.lease_seconds / 2)

    @property
    def begin_seconds(self) -> float:
        """An attempt begins within so many seconds of its claim, or not at all."""
        return self.answer_seconds - self.send_seconds

    @property
    def answer_seconds(self) -> float:
        """The outcome is known within so many seconds of the claim: before the lease is over, and before the wallet of
        an order that ends meanwhile may be another's."""
        return min(self.lease_seconds, self.cool_down_seconds) * 0.9

    @property
    def forget_seconds(self) -> float:
        """Without an attempt for so long nobody knows whether the server answers: a retry would have come."""
        return self.backoff.ceiling + LONGEST_SEND_SECONDS
