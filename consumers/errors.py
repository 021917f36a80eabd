"""Why a consumer gives up its place, or refuses to run."""

from dataclasses import dataclass

from storage.errors import WalletqError


@dataclass
class Fenced(Exception):
    """The partition's place is not where this owner left it: another one owns it now. Read it anew and go on."""

    topic: str
    partition: int
    expected_offset: int


@dataclass
class MembershipLost(Exception):
    """The consumer group, or the consumer itself, is at an end: begin with a new one."""

    reason: str

    def __str__(self) -> str:
        return self.reason


@dataclass
class LogDoesNotFit(WalletqError):
    """The log and the database are not of the same history. Going on would lose or repeat assignments."""

    topic: str
    partition: int
    found: str
    advice: str
    may_pass: bool = False
    "A broker that has just come back may show it for some seconds: looking again can help."

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}: {self.found}. {self.advice}"


@dataclass
class MemberTaken(WalletqError):
    """Another live process has the same WALLETQ_MEMBER_ID."""

    member_id: str
    holder: str

    def __str__(self) -> str:
        return (
            f"the member id {self.member_id} is taken by another live process ({self.holder}). "
            "Stop that one, or give this one a WALLETQ_MEMBER_ID of its own."
        )
