"""Array literals mean to PostgreSQL what they meant here."""

from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import pytest

from storage.arrays import array, columns

TEXTS = [
    "",
    "a",
    "NULL",
    "null",
    None,
    'a"b',
    "a\\b",
    '\\"',
    "{",
    "}",
    "a,b",
    " a ",
    "\u0430\u043d\u043d\u0430",
    "'",
    "\U0001f4b8",
    "{}",
    "\\N",
]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("text", TEXTS),
        ("bigint", [0, -1, None, 2**62]),
        ("boolean", [True, None, False]),
        ("timestamptz", [datetime(2026, 11, 22, 16, 0, 0, 123456, tzinfo=UTC), None, datetime(1970, 1, 2, tzinfo=UTC)]),
        ("uuid", [UUID(int=7), None]),
    ],
)
async def test_values_come_back_as_they_went(database: asyncpg.Connection, kind: str, values: list[object]) -> None:
    assert await database.fetchval(f"SELECT $1::text::{kind}[]", array(values)) == values


async def test_rows_become_columns(database: asyncpg.Connection) -> None:
    rows = [("a", 1), ("b", None)]
    found = await database.fetch("SELECT * FROM unnest($1::text::text[], $2::text::bigint[])", *columns(rows))
    assert [tuple(row) for row in found] == rows
