"""The types of the events' fields: text that is safe to keep, amounts, times, e-mail addresses."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, StringConstraints
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

PRINTABLE = r"^[^\p{Cc}\p{Zl}\p{Zp}]*$"  # JSON text holds no lone surrogates; what reads it refuses them

Identifier = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=PRINTABLE)]
"1–64 printable characters."
Name = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=PRINTABLE)]
"A currency's or a network's code; whether it exists the catalogue says."
EventId = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=PRINTABLE)]
FreeText = Annotated[str, StringConstraints(max_length=200, pattern=PRINTABLE)]
AddressText = Annotated[str, StringConstraints(max_length=128)]
"Checked against its network where the catalogue is known (schemas.addresses)."
Amount = Annotated[str, StringConstraints(max_length=40, pattern=r"^[0-9]+(\.[0-9]+)?$")]
"Plain digits with an optional fraction, kept as they are written. Never a float."
Locale = Annotated[str, StringConstraints(max_length=35, pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$")]
"A language tag (the shape of BCP 47); mails fall back to English."

_RFC_3339 = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})$"


class _Rfc3339:
    """A time with an offset, as RFC 3339 (section 5.6) writes it; microseconds are kept, finer digits cut."""

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        parsed = core_schema.datetime_schema(
            tz_constraint="aware",
            microseconds_precision="truncate",
            ge=datetime(1970, 1, 2, tzinfo=UTC),
            lt=datetime(3000, 1, 1, tzinfo=UTC),
        )
        written = core_schema.chain_schema([core_schema.str_schema(pattern=_RFC_3339), parsed])
        # A producer written in Python has datetimes; JSON knows only text.
        return core_schema.json_or_python_schema(
            written, core_schema.union_schema([{**parsed, "strict": True}, written], mode="left_to_right")
        )

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "format": "date-time", "pattern": _RFC_3339}


Time = Annotated[datetime, _Rfc3339()]

# What this takes the library takes too, and leaves as it is (a property test holds them together); it saves
# the library's time, a good part of a record's, on nearly every address there is.
_PLAIN_EMAIL = re.compile(
    r"[a-z0-9]+(?:[._+-][a-z0-9]+)*@(?:[a-z0-9](?:[a-z0-9]{0,30}[a-z0-9])?\.)+"
    r"(?!arpa$|invalid$|local$|localhost$|onion$)[a-z]{2,12}",
    re.ASCII,
)


def _email(text: str) -> str:
    if len(text) <= 60 and text.find("@") <= 40 and _PLAIN_EMAIL.fullmatch(text):
        return text
    try:
        # Whether a domain can be reached is the mail server's business, not a reason to refuse an order.
        checked = validate_email(text, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise PydanticCustomError("email", "{reason}", {"reason": _without_input(error)}) from None
    if "." not in checked.domain:
        raise PydanticCustomError("email", "the domain has no dot")
    return checked.normalized


def _without_input(error: EmailNotValidError) -> str:
    """The library's message without what stands in quotes: it may repeat the address."""
    return re.sub(r"'[^']*'|\"[^\"]*\"", "…", str(error))


Email = Annotated[str, StringConstraints(max_length=254, pattern=PRINTABLE), AfterValidator(_email)]
"An e-mail address without a display name, normalised as email-validator does (RFC 5321, RFC 6531)."
