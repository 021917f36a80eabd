"""The pure parts of `walletq replay`, and the replayed state on disk."""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from inspect import unwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from consumers.allocator.decide import decide
from consumers.allocator.reading import Reader
from consumers.allocator.state import Assignment, order_row, wallet_row
from operations.__main__ import app
from operations.replay.compare import ASSIGNMENTS, DEAD_LETTERS, ORDERS, Compared, as_of
from operations.replay.inputs import CatalogueUnreadable, Inputs, Recorded, load_inputs, write_inputs
from operations.replay.replaying import Scope, runs
from operations.replay.shadow import load_rules
from operations.replay.state import replayed_state
from schemas.catalogue import Catalogue, read_catalogue
from schemas.settings import SettingsError
from tests.reference import PARTITIONS
from tests.traffic import as_records, hostile
from tests.unit import memory

NOW = datetime(2026, 11, 22, 16, tzinfo=UTC)
SHIPPED = Catalogue.model_validate_json(read_catalogue().content)  # as it is recorded
LONGER = SHIPPED.model_copy(update={"expiry_minutes": 120})


class Fetched:
    """A record of the reference model as a consumer has it."""

    headers = ()

    def __init__(self, record: Any) -> None:
        self.offset, self.timestamp, self.key, self.value = record.offset, record.timestamp_ms, record.key, record.value


@pytest.mark.parametrize("seed", range(3))
def test_state_on_disk_is_that_in_memory_whatever_the_batches(seed: int) -> None:
    expected = memory.of()
    catalogue, rng = expected.catalogue, random.Random(seed)
    with replayed_state() as state:
        for partition, records in memory.by_partition(as_records(hostile(seed, 1_500))).items():
            reader = Reader(catalogue, partition, PARTITIONS)
            while records:
                cut = rng.randint(1, 200)
                batch, records = records[:cut], records[cut:]
                expected.take(partition, batch)
                entries = [reader.read(Fetched(record)) for record in batch]
                changes = decide(state.gather(entries), entries, catalogue, memory.TOPIC, partition)
                state.apply(partition, changes)
        assert list(state.orders()) == [order_row(expected.orders[key]) for key in sorted(expected.orders)]
        wallets = [list(wallet_row(expected.wallets[key])) for key in sorted(expected.wallets)]
        for wallet in wallets:
            wallet[9] = wallet[9] and str(wallet[9])
        assert list(map(list, state.wallets())) == wallets
        assert [(row[0], row[1], row[3], row[7]) for row in state.assignments()] == [
            (*place, made.released_offset, made.order_id) for place, made in sorted(expected.assignments.items())
        ]
        assert {(row[0], row[1], row[2]) for row in state.dead_letters()} == {
            (partition, letter.entry.offset, letter.refusal.reason) for partition, letter in expected.dead_letters
        }
        assert wallets
        assert expected.dead_letters


def test_every_field_of_an_assignment_is_compared() -> None:
    assert set(Assignment._fields) <= set(ASSIGNMENTS.columns)


# What differs


def order(**changes: Any) -> tuple[Any, ...]:
    content: dict[str, Any] = {"currency": "USDT", "order_id": "ord-1", "status": "pending", "email": "ann@example.com"}
    return tuple((content | changes).get(column) for column in ORDERS.columns)


def test_difference_names_row_column_and_both_contents() -> None:
    compared = Compared(ORDERS)
    compared.take(order(), order(status="paid", expires_at=NOW))
    assert [difference.as_text() for difference in compared.differences] == [
        "USDT/ord-1: status: replay says pending, the database has paid",
        "USDT/ord-1: expires_at: replay says nothing, the database has 2026-11-22T16:00:00Z",
    ]
    assert (compared.replayed, compared.stored, compared.differing) == (1, 1, 1)


def test_personal_data_that_differs_is_not_shown() -> None:
    compared = Compared(ORDERS)
    compared.take(order(), order(email="bob@example.com", reason="a story", actor="operator:kim"))
    shown = " ".join(difference.as_text() for difference in compared.differences) + repr(compared.differences)
    assert "email differs" in shown
    assert not any(word in shown for word in ("ann@", "bob@", "story", "kim"))
    letter = Compared(DEAD_LETTERS)
    blank = (0, 1, *[None] * (len(DEAD_LETTERS.columns) - 2))
    letter.take(
        blank,
        tuple(
            "secret" if column in ("key", "value") else cell
            for column, cell in zip(DEAD_LETTERS.columns, blank, strict=True)
        ),
    )
    assert [difference.as_text() for difference in letter.differences] == ["0/1: key differs", "0/1: value differs"]


def test_rows_of_one_side_are_counted_and_a_few_are_shown() -> None:
    compared = Compared(ORDERS)
    for number in range(100):
        compared.take(order(order_id=str(number)), None)
    compared.take(None, order())
    assert (compared.missing, compared.extra, compared.agrees) == (100, 1, False)
    assert compared.differences[0].as_text() == "USDT/0: replay has it, the database does not"
    assert len(compared.differences) < 10


def assignment(assigned: int, released: int | None) -> tuple[Any, ...]:
    return (3, assigned, "id", released, "BTC", "bitcoin", "bc1", "ord", False, NOW, NOW if released else None)


@given(st.integers(0, 20), st.integers(1, 20), st.integers(0, 20), st.none() | st.integers(1, 20))
def test_range_shows_assignments_as_they_were_at_its_end(
    start: int, length: int, assigned: int, held: int | None
) -> None:
    scope = Scope(frozenset({3}), start, start + length)
    released = None if held is None else assigned + held
    began = start <= assigned < start + length
    ended = released is not None and assigned < start + length and start <= released < start + length
    seen = as_of(scope, assignment(assigned, released))
    assert (seen is not None) == (began or ended)
    if seen is not None:
        assert seen[3] == (released if ended else None)
        assert (seen[3] is None) == (seen[-1] is None)
    assert as_of(replace(scope, partitions=frozenset({4})), assignment(assigned, released)) is None


# Inputs


def record(offset: int) -> Any:
    return SimpleNamespace(partition=3, offset=offset)


def test_records_are_decided_under_the_catalogue_of_their_offset() -> None:
    recorded = [Recorded(0, SHIPPED), Recorded(5, LONGER), Recorded(90, SHIPPED)]
    found = [(known, [r.offset for r in run]) for known, run in runs([record(n) for n in (2, 4, 5, 7)], recorded, "t")]
    assert found == [(SHIPPED, [2, 4]), (LONGER, [5, 7])]


@pytest.mark.parametrize("recorded", [[], [Recorded(3, SHIPPED)]])
def test_record_without_a_catalogue_is_no_record_of_the_default_one(recorded: list[Recorded]) -> None:
    with pytest.raises(CatalogueUnreadable, match=r"t/3: .* offset 2 on is not recorded"):
        list(runs([record(2)], recorded, "t"))


def test_inputs_are_kept_in_a_file(tmp_path: Path) -> None:
    inputs = Inputs({}, {3: [Recorded(0, SHIPPED), Recorded(7, LONGER)]}, {3: {5: "the database refuses the record"}})
    write_inputs(tmp_path / "inputs.json", inputs, "order-status")
    assert load_inputs(tmp_path / "inputs.json", "order-status") == inputs
    with pytest.raises(SettingsError, match="of the topic order-status"):
        load_inputs(tmp_path / "inputs.json", "another")


@pytest.mark.parametrize(
    "edit",
    [
        lambda _: "{",
        lambda _: "[]",
        lambda text: text.replace("90", "91"),  # of the catalogue, which has another digest now
        lambda text: text.replace('"partition"', '"p"'),
    ],
)
def test_file_that_is_not_as_it_was_saved_is_refused(tmp_path: Path, edit: Callable[[str], str]) -> None:
    file = tmp_path / "inputs.json"
    write_inputs(file, Inputs({}, {3: [Recorded(0, SHIPPED)]}), "order-status")
    file.write_text(edit(file.read_text()))
    with pytest.raises(SettingsError, match="--inputs"):
        load_inputs(file, "order-status")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_inputs(tmp_path / "missing", "order-status")


# Other rules


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("rules", "MODULE:FUNCTION"),
        ("rules_that_are_nowhere:decide", "cannot be imported: ModuleNotFoundError"),
        ("broken_rules:decide", "cannot be imported: ZeroDivisionError"),
        ("consumers.allocator.decide:missing", "has no function missing"),
        ("consumers.allocator.decide:APPLIED", "has no function APPLIED"),
    ],
)
def test_rules_that_cannot_be_loaded_are_named(
    name: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_rules.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingsError, match=wrong):
        load_rules(name)


def test_rules_of_a_module_are_loaded() -> None:
    assert unwrap(load_rules("consumers.allocator.decide:decide")) is decide


# The command


@pytest.mark.parametrize(
    "arguments",
    [
        ["--shadow", "--rebuild"],
        ["--catalogue", "new.toml"],
        ["--rules", "a:b"],
        ["--inputs", "inputs.json"],
        ["--rebuild", "--save-inputs", "inputs.json"],
        ["--shadow", "--to", "5"],
        ["--rebuild", "--partition", "1"],
        ["--from", "5", "--to", "5"],
        ["--partition", "-1"],
    ],
    ids=" ".join,
)
def test_options_that_do_not_go_together_are_bad_usage(arguments: list[str]) -> None:
    ended = CliRunner().invoke(app, ["replay", *arguments])
    assert ended.exit_code == 2, ended.output
    assert "--" in ended.output


def test_catalogue_is_the_same_after_it_was_recorded() -> None:
    assert Catalogue.model_validate_json(SHIPPED.content) == SHIPPED
    assert Catalogue.model_validate_json(SHIPPED.content).content == SHIPPED.content
