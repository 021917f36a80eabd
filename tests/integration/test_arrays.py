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
        ("text", [text for text in TEXTS if text is not None]),
        ("text", ["a", "", "NULL", "{", "a,b", " a ", "'", "\U0001f4b8"]),
        ("text", ['"', '","']),
        ("text", ["None", None]),
        ("text", [""]),
        ("text", []),
        ("bigint", [0, -1, None, 2**62]),
        ("bigint", [2**62, -(2**62)]),
        ("bigint", [None, None]),
        ("boolean", [True, None, False]),
        ("boolean", [True, False]),
        ("timestamptz", [datetime(2026, 11, 22, 16, 0, 0, 123456, tzinfo=UTC), None, datetime(1970, 1, 2, tzinfo=UTC)]),
        ("timestamptz", [datetime(2026, 11, 22, 16, 0, 0, microseconds, tzinfo=UTC) for microseconds in (7, 7, 8)]),
        ("uuid", [UUID(int=7), None]),
        ("uuid", [UUID(int=7), UUID(int=2**127)]),
    ],
)
async def test_values_come_back_as_they_went(database: asyncpg.Connection, kind: str, values: list[object]) -> None:
    assert await database.fetchval(f"SELECT $1::text::{kind}[]", array(values)) == values


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM unnest($1::text::text[], $2::text::bigint[], $3::text::uuid[])",
        "SELECT unnest($1::text::text[]), unnest($2::text::bigint[]), unnest($3::text::uuid[])",
    ],
)
@pytest.mark.parametrize("rows", [[("a", 1, None), ("b", None, None)], [("a", None, UUID(int=1))], []])
async def test_rows_become_columns(
    database: asyncpg.Connection, statement: str, rows: list[tuple[object, ...]]
) -> None:
    found = await database.fetch(statement, *(list(columns(rows)) or ["{}"] * 3))
    assert [tuple(row) for row in found] == rows
