"""The pure parts of `walletq verify`."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operations.verify.dead_letters import place_of
from operations.verify.finding import SHOWN, Offenders, found
from operations.verify.notifications import differences
from operations.verify.offsets import OffsetSet
from schemas.events import WalletAssigned
from schemas.examples import EXAMPLES

ROW: Any = {
    "assignment_id": UUID(EXAMPLES["wallet_assigned"][0]["notification_id"]),
    "order_id": "ord-7f3c",
    "currency": "USDT",
    "network": "TRC-20",
    "address": EXAMPLES["wallet_assigned"][0]["address"],
    "amount": "250.00",
    "waited": True,
    "assigned_at": datetime(2026, 11, 22, 16, 0, 0, 120_000, tzinfo=UTC),
    "expires_at": datetime(2026, 11, 22, 17, 30, tzinfo=UTC),
}


@given(st.sets(st.integers(0, 2**40), max_size=50), st.integers(0, 2**40))
def test_offset_set_is_a_set(offsets: set[int], other: int) -> None:
    kept = OffsetSet()
    for offset in offsets:
        kept.add(offset)
    assert all(offset in kept for offset in offsets)
    assert (other in kept) == (other in offsets)


def test_a_few_offenders_are_named_and_the_rest_is_known_of() -> None:
    offenders = Offenders()
    for number in range(1_000):
        offenders.add(str(number))
    finding = found("I1", "promise", "over", offenders.named)
    assert (finding.result, len(finding.offenders), finding.more) == ("violated", SHOWN, True)
    assert finding.as_text().splitlines()[-1].strip() == "and more"


def test_nothing_found_is_ok() -> None:
    assert found("I1", "promise", "3 rows", []).as_text() == "I1   ok           promise (3 rows)"


@pytest.mark.parametrize("field", ["amount", "waited", "assigned_at", "order_id"])
def test_notification_must_say_what_the_row_says(field: str) -> None:
    notification = WalletAssigned.model_validate(EXAMPLES["wallet_assigned"][0])
    assert differences(b"ord-7f3c", notification, ROW) == []
    assert differences(b"ord-7f3c", notification.model_copy(update={field: None}), ROW) == [field]
    assert differences(b"another", notification, ROW) == ["key"]


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("__walletq.errors.topic", b"t"), ("__walletq.errors.partition", b"1")],
        [("__walletq.errors.topic", b"\xff"), ("__walletq.errors.partition", b"1"), ("__walletq.errors.offset", b"1")],
        [("__walletq.errors.topic", b"t"), ("__walletq.errors.partition", b"x"), ("__walletq.errors.offset", b"1")],
        [("__walletq.errors.topic", b"t"), ("__walletq.errors.partition", None), ("__walletq.errors.offset", b"1")],
        [("__walletq.errors.topic", b"t"), ("__walletq.errors.partition", b"-1"), ("__walletq.errors.offset", b"1")],
    ],
)
def test_dead_letter_without_a_place_has_none(headers: list[tuple[str, bytes | None]]) -> None:
    record: Any = SimpleNamespace(headers=headers)
    assert place_of(record) is None
