"""How a wallet reads a payment: as a URI (BIP 21, EIP-681) whose pattern the catalogue has.

`{address}` and `{amount}` stand for those of the order; `{amount:18}` for the amount as a whole number of 10^-18, which
is what EIP-681 wants (wei). All of it is text and whole numbers: no float ever comes near an amount.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

_PLACE = re.compile(r"\{(address|amount)(?::(\d{1,2}))?\}")
_URI = re.compile(r"[a-z][a-z0-9+.-]*:[A-Za-z0-9:/?@&=.,;~_%+-]*")


def payment_uri(pattern: str, address: str, amount: str) -> str | None:
    """The URI of a payment; None where the amount cannot be said exactly in the pattern's units."""
    parts = []
    end = 0
    for place in _PLACE.finditer(pattern):
        name, decimals = place.groups()
        value = address if name == "address" else amount if decimals is None else units(amount, int(decimals))
        if value is None:
            return None
        parts += [pattern[end : place.start()], value]
        end = place.end()
    return "".join(parts) + pattern[end:]


def units(amount: str, decimals: int) -> str | None:
    """An amount (plain digits with an optional fraction) as a whole number of 10^-decimals, where it is one."""
    whole, _, fraction = amount.partition(".")
    rest = fraction[decimals:]
    if rest.strip("0"):
        return None
    return (whole + fraction[:decimals].ljust(decimals, "0")).lstrip("0") or "0"


def _pattern(text: str) -> str:
    places = [place.groups() for place in _PLACE.finditer(text)]
    if places.count(("address", None)) != 1 or any(name == "address" and decimals for name, decimals in places):
        raise ValueError("expected {address} once")
    if not _URI.fullmatch(_PLACE.sub("", text)):
        raise ValueError(
            "expected a URI such as bitcoin:{address}?amount={amount}, with no more than {address}, {amount} and "
            "{amount:DECIMALS} in braces"
        )
    return text


PaymentUri = Annotated[str, StringConstraints(max_length=200), AfterValidator(_pattern)]
"The pattern of a network's payment URIs."
