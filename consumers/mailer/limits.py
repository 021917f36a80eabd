"""How fast mails go out, over all and to each domain: token buckets. Pure: the time is an argument, in seconds."""

from dataclasses import dataclass
from functools import lru_cache

from email_validator import EmailNotValidError, validate_email

MANY_DOMAINS = 10_000
"With so many the buckets of those that have been quiet are given up."


@dataclass(frozen=True, slots=True)
class Go:
    """The mail may go, after so many seconds, and is counted."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Later:
    """The mail is to ask again, after so many seconds."""

    seconds: float


class Limits:
    """The limits of one mailer; None: no limit."""

    def __init__(self, per_second: float | None, per_domain: float | None) -> None:
        self._overall = Bucket(per_second) if per_second else None
        self._per_domain = per_domain
        self._lanes: dict[str, Lane] = {}
        self._crowded_at = MANY_DOMAINS

    def ask(self, domain: str, now: float, patience: float) -> Go | Later:
        """Whether a mail to this domain may go within `patience` seconds.

        A domain at its limit is nothing to wait for: others would wait behind it.
        """
        lane = self._lane(domain, now)
        if lane and (delay := lane.delay(now)):
            return Later(delay)
        wait = self._overall.wait(now) if self._overall else 0.0
        if wait > patience:
            return Later(wait)
        if lane:
            lane.bucket.take(now)
        if self._overall:
            self._overall.take(now)
        return Go(wait)

    def _lane(self, domain: str, now: float) -> "Lane | None":
        if self._per_domain is None:
            return None
        if domain not in self._lanes:
            if len(self._lanes) >= self._crowded_at:
                self._lanes = {name: lane for name, lane in self._lanes.items() if not lane.is_quiet(now)}
                self._crowded_at = max(MANY_DOMAINS, 2 * len(self._lanes))
            self._lanes[domain] = Lane(self._per_domain)
        return self._lanes[domain]


class Bucket:
    """Tokens that come at a rate, and are kept for a second at most: in t seconds there are 1 + rate × (t + 1)."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._capacity = 1 + rate
        self._tokens = self._capacity
        self._at = 0.0

    def wait(self, now: float) -> float:
        """Seconds until there is a token."""
        self._fill(now)
        return max(0.0, (1 - self._tokens) / self._rate)

    def take(self, now: float) -> None:
        """Take one. One that is not there yet is owed, and whoever comes next waits for longer."""
        self._fill(now)
        self._tokens -= 1

    def is_full(self, now: float) -> bool:
        """Nobody has taken any for a while."""
        self._fill(now)
        return self._tokens >= self._capacity

    def _fill(self, now: float) -> None:
        self._tokens = min(self._capacity, self._tokens + (now - self._at) * self._rate)
        self._at = now


class Lane:
    """A domain's bucket, and the line before it: each that has to come again gets a time of its own, since all who
    came at once would find one token."""

    def __init__(self, rate: float) -> None:
        self.bucket = Bucket(rate)
        self._interval = 1 / rate
        self._line_ends_at = 0.0

    def delay(self, now: float) -> float:
        """Seconds after which to come again; 0: there is a token now."""
        wait = self.bucket.wait(now)
        if wait == 0:
            return 0.0
        self._line_ends_at = max(self._line_ends_at + self._interval, now + wait)
        return self._line_ends_at - now

    def is_quiet(self, now: float) -> bool:
        """Whether a new one would do as well."""
        return self._line_ends_at <= now and self.bucket.is_full(now)


def domain_of(address: str) -> str:
    """An e-mail address's domain in the form in which domains compare: lower case, in ASCII (RFC 5890)."""
    domain = address.rpartition("@")[2].lower()
    return domain if domain.isascii() else _in_ascii(domain)


@lru_cache(maxsize=MANY_DOMAINS)
def _in_ascii(domain: str) -> str:
    try:
        return validate_email(f"x@{domain}", check_deliverability=False, test_environment=True).ascii_domain
    except EmailNotValidError:
        return domain
