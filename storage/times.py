"""Times that PostgreSQL has and Python has not: beyond the year 9999, or before the first.

Nothing of ours writes one, but what looks for changes by hand must be able to read them.
"""

from datetime import UTC, datetime, timedelta

import asyncpg

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


async def read_any_time(connection: asyncpg.Connection) -> None:
    """Let this connection read such a time as the last or the first that Python has.

    A time is sent as microseconds since 2000 (PostgreSQL's source, src/include/datatype/timestamp.h).
    """
    await connection.set_type_codec(
        "timestamptz",
        schema="pg_catalog",
        format="tuple",
        encoder=lambda time: ((time - _EPOCH) // _MICROSECOND,),
        decoder=lambda sent: _time(sent[0]),
    )


def _time(microseconds: int) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return _LAST if microseconds > 0 else _FIRST
