"""What the reference model takes for a valid record, and in which order it checks."""

import json
from typing import Any

import pytest

from tests.reference import SHIPPED, Model, Record, normalised, right_partition

TRON = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
CHECKSUMMED = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
PENDING: dict[str, Any] = {
    "type": "order_status_changed",
    "event_id": "e-1",
    "order_id": "ord-1",
    "currency": "USDT",
    "network": "TRC-20",
    "status": "pending",
    "amount": "250.00",
    "recipient": {"email": "ann@example.com", "locale": "en"},
    "occurred_at": "2026-01-01T00:00:00Z",
}
FINAL = {"type": "order_status_changed", "order_id": "ord-1", "currency": "USDT", "status": "completed"}
ADDED = {
    "type": "wallet_added",
    "event_id": "e-1",
    "currency": "USDT",
    "network": "TRC-20",
    "address": TRON,
    "occurred_at": "2026-01-01T00:00:00Z",
}
INFINITE = float("inf")


def outcome(value: dict[str, Any] | bytes | None, key: bytes | None = b"USDT", partition: int | None = None) -> str:
    """Of one record in an empty model."""
    raw = json.dumps(value).encode() if isinstance(value, dict) else value
    place = right_partition(key or b"USDT") if partition is None else partition
    return Model().take(Record(place, 0, 0, key, raw))


def without(document: dict[str, Any], name: str) -> dict[str, Any]:
    return {other: value for other, value in document.items() if other != name}


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


# JSON


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b"{} {}",
        b"\xff",
        json.dumps(FINAL).encode("utf-16"),
        b"\xef\xbb\xbf" + json.dumps(FINAL).encode(),
        nested(20_000).encode(),
    ],
    ids=repr,
)
def test_value_that_is_not_a_json_object_in_utf8_is_invalid(value: bytes | None) -> None:
    assert outcome(value) == "invalid_event"


def test_deep_nesting_makes_even_a_final_invalid() -> None:
    text = json.dumps(FINAL | {"recipient": "@"})
    assert outcome(text.replace('"@"', nested(400)).encode()) == "applied"
    assert outcome(text.replace('"@"', nested(600)).encode()) == "invalid_event"
    assert outcome(text.replace('"@"', nested(20_000)).encode()) == "invalid_event"


def test_last_of_two_members_counts() -> None:
    text = json.dumps(FINAL)
    assert outcome(text.replace("{", '{"status": "nonsense", ').encode()) == "applied"
    assert outcome(text.replace("}", ', "status": "nonsense"}').encode()) == "invalid_event"


@pytest.mark.parametrize("value", [INFINITE, float("nan"), "\ud800", {"deep": ["\udfff"]}], ids=repr)
def test_unfinite_numbers_and_lone_surrogates_are_invalid_except_in_a_final(value: object) -> None:
    assert outcome(PENDING | {"unknown_to_us": value}) == "invalid_event"
    assert outcome(FINAL | {"unknown_to_us": value, "reason": value}) == "applied"


def test_unknown_fields_are_ignored() -> None:
    assert outcome(PENDING | {"unknown_to_us": {"a": [1, None]}}) == "applied"


# Fields


@pytest.mark.parametrize(
    "name", ["type", "event_id", "order_id", "currency", "status", "amount", "recipient", "occurred_at"]
)
def test_pending_without_a_required_field_is_invalid(name: str) -> None:
    assert outcome(without(PENDING, name)) == "invalid_event"
    assert outcome(PENDING | {name: None}) == "invalid_event"
    assert outcome(PENDING | {name: 7}) == "invalid_event"


@pytest.mark.parametrize("name", ["event_id", "address", "occurred_at", "currency"])
def test_wallet_added_without_a_required_field_is_invalid(name: str) -> None:
    assert outcome(without(ADDED, name)) == "invalid_event"


@pytest.mark.parametrize(
    "assignment", [None, "", "x", 7, "12345678123456781234567812345678", "{12345678-1234-5678-1234-567812345678}"]
)
def test_wallet_cooled_needs_an_assignment_id(assignment: object) -> None:
    assert outcome(ADDED | {"type": "wallet_cooled", "assignment_id": assignment}) == "invalid_event"


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "order_deleted"},
        {"status": "expired"},
        {"status": ["paid"]},
        {"order_id": ""},
        {"order_id": "o" * 65},
        {"order_id": "a\x00b"},
        {"order_id": "a\nb"},
        {"order_id": "a\x7fb"},
        {"order_id": "a\u2028b"},
        {"event_id": "e" * 129},
        {"reason": "r" * 201},
        {"reason": "a\nb"},
        {"actor": "a" * 201},
        {"actor": "a\tb"},
        {"network": 7},
        {"recipient": "ann@example.com"},
        {"recipient": {}},
        {"recipient": {"email": "ann@example.com\r\nBcc: eve@example.com"}},
        {"recipient": {"email": "ann@intranet"}},
        {"recipient": {"email": "Ann <ann@example.com>"}},
        {"recipient": {"email": "ann@example.com", "locale": "en_US"}},
        {"recipient": {"email": "ann@example.com", "locale": ""}},
        {"occurred_at": "2026-01-01T00:00:00"},
        {"occurred_at": "2026-01-01 00:00:00Z"},
        {"occurred_at": "2026-02-30T00:00:00Z"},
        {"occurred_at": "0001-01-01T00:00:00+23:00"},
        {"expires_at": "2026-01-01"},
        {"expires_at": 1767225600},
    ],
    ids=repr,
)
def test_pending_with_a_malformed_field_is_invalid(fields: dict[str, Any]) -> None:
    assert outcome(PENDING | fields) == "invalid_event"


@pytest.mark.parametrize(
    "fields",
    [
        {"order_id": "o" * 64},
        {"order_id": " заказ №7 "},
        {"event_id": "e" * 128},
        {"reason": ""},
        {"reason": "r" * 200, "actor": "a" * 200},
        {"reason": None, "actor": None, "expires_at": None},
        {"recipient": {"email": "анна@example.com", "locale": None}},
        {"recipient": {"email": "ann@example.com", "locale": "zh-Hans-CN", "unknown_to_us": 1}},
        {"occurred_at": "2026-01-01t00:00:00.123456789+05:30"},
        {"expires_at": "1999-12-31T23:59:59Z"},
    ],
    ids=repr,
)
def test_pending_with_unusual_but_well_formed_fields_is_applied(fields: dict[str, Any]) -> None:
    assert outcome(PENDING | fields) == "applied"


# Amounts


@pytest.mark.parametrize(
    "amount",
    [
        "",
        "1e3",
        "-10",
        "+10",
        ".5",
        "10.",
        " 10",
        "10 ",
        "10\n",
        "1_000",
        "1,000",
        "0x10",
        "NaN",
        "Infinity",
        "١٢",
        "１２",
        "1" * 41,
        "10.0000001",
        10,
        10.0,
        True,
    ],
)
def test_malformed_amount_is_invalid(amount: object) -> None:
    assert outcome(PENDING | {"amount": amount}) == "invalid_event"


@pytest.mark.parametrize("amount", ["9.999999", "5000.000001", "0", "0.0", "9" * 40])
def test_amount_outside_the_limits_is_a_dead_letter(amount: str) -> None:
    assert outcome(PENDING | {"amount": amount}) == "amount_out_of_range"


@pytest.mark.parametrize("amount", ["10", "5000", "10.000000", "00010.5", "5000.0"])
def test_limits_are_inclusive_and_leading_zeros_are_fine(amount: str) -> None:
    assert outcome(PENDING | {"amount": amount}) == "applied"


def test_limits_are_those_of_the_currency() -> None:
    for name, known in SHIPPED.items():
        for amount in (known.smallest, known.largest):
            document = PENDING | {"currency": name, "network": known.networks[0], "amount": f"{amount:f}"}
            assert outcome(document, name.encode()) == "applied"


def test_progress_knows_no_limits_but_its_amount_must_be_well_formed() -> None:
    paid = PENDING | {"status": "paid"}
    assert outcome(paid | {"amount": "0.1"}) == "unknown_order"
    assert outcome(paid | {"amount": "1e3"}) == "invalid_event"
    assert outcome(paid | {"recipient": {"email": "ann"}}) == "invalid_event"
    assert outcome(paid | {"network": "bitcoin"}) == "unknown_network"
    assert outcome(without(paid, "network")) == "unknown_order"


# Finals


def test_final_needs_four_fields_and_drops_what_is_invalid_of_the_others() -> None:
    model = Model()
    sloppy = FINAL | {
        "event_id": "",
        "occurred_at": "yesterday",
        "network": 7,
        "amount": INFINITE,
        "recipient": {"email": "\ud800@example.com"},
        "expires_at": "soon",
        "reason": "r" * 201,
        "actor": "kim",
    }
    value = json.dumps(sloppy).encode()
    assert model.take(Record(right_partition(b"USDT"), 0, 0, b"USDT", value)) == "applied"
    assert model.counts["dropped_fields"] == 7


@pytest.mark.parametrize("name", ["type", "currency", "order_id", "status"])
def test_final_without_one_of_its_four_fields_is_invalid(name: str) -> None:
    assert outcome(without(FINAL, name)) == "invalid_event"
    assert outcome(FINAL | {name: "\ud800"}) == "invalid_event"


def test_final_does_not_ask_for_the_network() -> None:
    assert outcome(FINAL | {"network": "dogecoin"}) == "applied"


# The order of the checks


def test_checks_come_in_their_order() -> None:
    everything_wrong = PENDING | {"amount": "-1", "currency": "DOGE", "network": "x"}
    known = everything_wrong | {"amount": "1", "currency": "USDT"}
    right = right_partition(b"USDT")
    assert outcome(everything_wrong, b"?", 0) == "invalid_event"
    assert outcome(everything_wrong | {"amount": "1"}, b"?", 0) == "unknown_currency"
    assert outcome(known, b"?", right + 1) == "wrong_key"
    assert outcome(known, None, right) == "wrong_key"
    assert outcome(known, b"USDT", right + 1) == "wrong_partition"
    assert outcome(known, b"USDT", right) == "unknown_network"
    assert outcome(without(known, "network")) == "network_required"
    assert outcome(known | {"network": "TRC-20"}) == "amount_out_of_range"
    assert outcome(ADDED | {"network": "x", "address": "x"}) == "unknown_network"
    assert outcome(ADDED | {"address": "x"}) == "invalid_address"
    assert outcome(ADDED | {"address": "x" * 129}) == "invalid_event"


def test_one_network_currency_needs_no_network() -> None:
    document = without(PENDING, "network") | {"currency": "BTC", "amount": "0.01"}
    assert outcome(document, b"BTC") == "applied"


# Addresses


@pytest.mark.parametrize(
    ("network", "written", "one_form"),
    [
        ("bitcoin", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"),
        ("bitcoin", "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy", "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy"),
        (
            "bitcoin",
            "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4",
            "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
        ),
        (
            "bitcoin",
            "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
            "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
        ),
        ("litecoin", "3MSvaVbVFFLML86rt5eqgA9SvW23upaXdY", "MTf4tP1TCNBn8dNkyxeBVoPrFCcVzxJvvh"),
        ("litecoin", "MTf4tP1TCNBn8dNkyxeBVoPrFCcVzxJvvh", "MTf4tP1TCNBn8dNkyxeBVoPrFCcVzxJvvh"),
        ("TRC-20", TRON, TRON),
        ("ethereum", CHECKSUMMED, CHECKSUMMED),
        ("ERC-20", CHECKSUMMED.lower(), CHECKSUMMED),
        ("BEP-20", "0x" + CHECKSUMMED[2:].upper(), CHECKSUMMED),
        ("a network of another catalogue", "whatever", "whatever"),
    ],
)
def test_address_has_one_form(network: str, written: str, one_form: str) -> None:
    assert normalised(network, written) == one_form


@pytest.mark.parametrize(
    ("network", "written"),
    [
        ("bitcoin", ""),
        ("bitcoin", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb"),
        ("bitcoin", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5"),
        ("bitcoin", "bc1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4"),
        ("bitcoin", " 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"),
        ("bitcoin", "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx"),
        ("bitcoin", "bc1sw50qgdz25j"),  # version 16: valid in form, anyone can spend it
        ("bitcoin", "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn"),
        ("bitcoin", TRON),
        ("bitcoin", "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7\u212aV8F3T4"),  # the Kelvin sign lower-cases to k
        ("litecoin", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"),
        ("litecoin", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"),
        ("TRC-20", TRON[:-1] + "u"),
        ("TRC-20", CHECKSUMMED),
        ("ethereum", CHECKSUMMED[2:]),
        ("ethereum", "0X" + CHECKSUMMED[2:]),
        ("ethereum", CHECKSUMMED[:-1]),
        ("ethereum", CHECKSUMMED.replace("5aA", "5Aa")),
        ("ethereum", CHECKSUMMED + "\n"),
    ],
)
def test_address_that_its_network_does_not_know_has_no_form(network: str, written: str) -> None:
    assert normalised(network, written) is None
