"""What an attempt to send came to: a pure reading of what happened in which phase of SMTP (RFC 5321)."""

import re
from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Phase(IntEnum):
    """How far a session had come."""

    CONNECT = 0
    EHLO = 1
    STARTTLS = 2
    AUTH = 3
    MAIL = 4
    RCPT = 5
    DATA = 6
    FINAL_DOT = 7
    "The whole message is on its way: from here on the server may have taken it."


@dataclass(frozen=True, slots=True)
class Reply:
    """The server answered with something else than success."""

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """No connection, a lost connection, a timeout, or bytes that are no reply."""

    what: str


@dataclass(frozen=True, slots=True)
class Insecure:
    """TLS that is required is not offered, or does not verify."""

    what: str


@dataclass(frozen=True, slots=True)
class Unsupported:
    """The server lacks an extension without which this message cannot be sent."""

    extension: str


Problem = Reply | NoAnswer | Insecure | Unsupported


class Kind(StrEnum):
    """What is to become of the delivery."""

    SENT = "sent"
    TRANSIENT = "transient"
    PERMANENT = "permanent"
    SERVER_REFUSES = "server refuses"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of an attempt, with words for it that name no customer."""

    kind: Kind
    text: str
    phase: Phase
    "How far it came."
    is_answered: bool = True
    "False: the connection came to nothing, or silence met it."


# RFC 4954: the server wants us to authenticate, in whatever phase it says so.
_AUTHENTICATION = frozenset({530, 534, 535, 538})
_ADDRESS = re.compile(r"[^\s<>\"',;:()]+@[^\s<>\"',;:()]+")
_ENHANCED_CODE = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?=\s|$)")
_ABOUT_US = frozenset({Phase.CONNECT, Phase.EHLO, Phase.STARTTLS, Phase.AUTH, Phase.MAIL})
# Many servers, Postfix by default, put off what they have against the client or the sender until the first recipient.
# RFC 3463, 4954, 5248, 7372, 7505: the sender's address, our authentication, SPF, DKIM and their like.
_ABOUT_THE_SENDER = re.compile(r"5\.(?:1\.[78]|7\.(?:8|9|1[0-2]|2[0-9]))(?=\s|$)")
# Postfix's and Exim's words where the code is 5.7.1 or none, which may mean anything. They stand behind whatever has
# been quoted: a recipient cannot say them.
_AGAINST_US = re.compile(
    r"(?:5\.\d{1,3}\.\d{1,3}\s+)?(?><.*>: )?"
    r"(?P<words>(?:client host|helo command|sender address) rejected|relay access denied|relay not permitted)",
    re.IGNORECASE | re.DOTALL,
)


def classify(phase: Phase, problem: Problem | None) -> Verdict:
    """The verdict on an attempt that came as far as `phase`; None is success."""
    if problem is None:
        return Verdict(Kind.SENT, "sent", phase)
    text = f"{phase.name}: {_describe(phase, problem)}"
    return Verdict(_kind(phase, problem), text, phase, is_answered=not isinstance(problem, NoAnswer))


def _kind(phase: Phase, problem: Problem) -> Kind:
    match problem:
        case Insecure():
            return Kind.SERVER_REFUSES
        case Unsupported():
            return Kind.PERMANENT
        case Reply(code=code) if 400 <= code < 500:
            return Kind.TRANSIENT
        case Reply(code=code, text=text) if 500 <= code < 600:
            is_about_us = phase in _ABOUT_US or code in _AUTHENTICATION or _is_about_the_sender(text)
            return Kind.SERVER_REFUSES if is_about_us else Kind.PERMANENT
        case _:
            # Silence, or an answer that means nothing: only after the final dot may the message have arrived.
            return Kind.UNKNOWN if phase is Phase.FINAL_DOT else Kind.TRANSIENT


def _is_about_the_sender(text: str) -> bool:
    return bool(_ABOUT_THE_SENDER.match(text) or _AGAINST_US.match(text))


def _describe(phase: Phase, problem: Problem) -> str:
    match problem:
        case Reply(code=code, text=text) if phase in _ABOUT_US:
            # A server may still be speaking of the recipient before.
            return f"{code} {_printable(_ADDRESS.sub('…', text))}"
        case Reply(code=code, text=text):
            # The rest of the text may repeat the recipient.
            enhanced, against = _ENHANCED_CODE.match(text), _AGAINST_US.match(text)
            return " ".join([str(code), *([enhanced[0]] if enhanced else []), *([against["words"]] if against else [])])
        case NoAnswer(what=what):
            return what
        case Insecure(what=what):
            return what
        case Unsupported(extension=extension):
            return f"the server does not offer {extension}"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text[:200])
