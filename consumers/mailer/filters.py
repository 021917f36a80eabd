"""What the templates can do with a value: `date`, `plural` and `groups`."""

from datetime import UTC, datetime
from functools import lru_cache

from babel import Locale
from babel.dates import format_datetime
from jinja2 import TemplateRuntimeError, pass_context
from jinja2.runtime import Context


@pass_context
def date(context: Context, at: datetime, pattern: str) -> str:
    """A time in UTC, to the minute, in the letter's language. The pattern is CLDR's: `d MMMM y 'at' HH:mm 'UTC'`."""
    return _date(at.astimezone(UTC).replace(second=0, microsecond=0), pattern, context["lang"])


@lru_cache(maxsize=1_024)  # letters of the same minutes expire at the same minutes
def _date(minute: datetime, pattern: str, tag: str) -> str:
    return format_datetime(minute, pattern, tzinfo=UTC, locale=_locale(tag))


@pass_context
def plural(context: Context, number: int, **forms: str) -> str:
    """The form for a number, by CLDR's names in the letter's language: `plural(one="order", other="orders")`."""
    category = category_of(context["lang"], number)
    if category not in forms:
        raise TemplateRuntimeError(f"plural has no form {category} (for {number})")
    return forms[category]


def category_of(tag: str, number: int) -> str:
    """CLDR's name for the plural form of a number: zero, one, two, few, many, other."""
    return str(_locale(tag).plural_form(number))


def groups(address: str) -> list[str]:
    """An address in pieces of four characters, as eyes compare them. The first holds a 0x, too, and the last what would
    be too short for a piece of its own."""
    start = 6 if address.startswith("0x") else 4
    pieces = [address[:start], *(address[at : at + 4] for at in range(start, len(address), 4))]
    if len(pieces) > 2 and len(pieces[-1]) < 3:
        pieces[-2:] = [pieces[-2] + pieces[-1]]
    return pieces


@lru_cache
def _locale(tag: str) -> Locale:
    return Locale.parse(tag, sep="-")
