"""The rule for migrations in docs/upgrades.md: the version before runs on what the next one has migrated."""

import re
from importlib.resources import files

import pytest

TAKES_AWAY = re.compile(
    r"\bDROP\s+(TABLE|COLUMN|FUNCTION|ROLE|TYPE|VIEW)\b|\bRENAME\b|\bSET\s+NOT\s+NULL\b|\bSET\s+DATA\s+TYPE\b"
    r"|\bALTER\s+COLUMN\s+\w+\s+TYPE\b|\bCREATE\s+OR\s+REPLACE\b",
    re.IGNORECASE,
)
MIGRATIONS = sorted(
    (file for file in files("storage").joinpath("migrations").iterdir() if file.name.endswith(".sql")),
    key=lambda file: file.name,
)


@pytest.mark.parametrize("text", [file.read_text() for file in MIGRATIONS], ids=[file.name for file in MIGRATIONS])
def test_migration_takes_nothing_away_from_the_version_before(text: str) -> None:
    statements = re.sub(r"--.*", "", text)
    assert TAKES_AWAY.findall(statements) == []


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE orders",
        "ALTER TABLE orders DROP COLUMN reason",
        "ALTER TABLE orders RENAME COLUMN reason TO why",
        "ALTER TABLE orders ALTER COLUMN reason SET NOT NULL",
        "ALTER TABLE orders ALTER COLUMN amount TYPE numeric",
        "CREATE OR REPLACE FUNCTION apply_batch() RETURNS int",
    ],
)
def test_what_takes_away_is_seen(statement: str) -> None:
    assert TAKES_AWAY.search(statement)


def test_migrations_are_numbered_without_two_of_a_number() -> None:
    numbers = [file.name[:4] for file in MIGRATIONS]
    assert numbers == sorted(set(numbers))
    assert all(number.isdigit() for number in numbers)
