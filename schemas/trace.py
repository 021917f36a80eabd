"""The W3C trace context (Trace Context, section 3.2) that a record's `traceparent` header carries on."""

import re
from collections.abc import Iterable

_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def is_traceparent(value: bytes) -> bool:
    """Whether the header's value is one: version, trace id, parent id and flags in lower-case hexadecimal."""
    return _TRACEPARENT.fullmatch(value) is not None


def read_traceparent(headers: Iterable[tuple[str, bytes | None]]) -> str | None:
    """The first valid trace context among a record's headers."""
    for name, value in headers:
        if name == "traceparent" and value is not None and is_traceparent(value):
            return value.decode()
    return None
