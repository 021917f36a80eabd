"""What a producer refuses before it publishes."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from producers.checks import EventRefused, UnknownPool, checked
from producers.operator import add_wallets, retire_wallets, set_status
from schemas.catalogue import Catalogue, read_catalogue
from schemas.events import Event, WalletAdded, encode_event, parse_event
from schemas.examples import EXAMPLES

NOW = datetime(2026, 11, 22, 16, tzinfo=UTC)
PENDING = EXAMPLES["order_status_changed"][0]
TRON = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
BECH32 = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return read_catalogue()


def event(base: dict[str, Any], **changes: Any) -> Event:
    fields = {name: value for name, value in (base | changes).items() if value is not None}
    return parse_event(json.dumps(fields).encode()).event


@pytest.mark.parametrize("examples", [EXAMPLES[kind] for kind in EXAMPLES if kind != "wallet_assigned"])
def test_examples_pass(catalogue: Catalogue, examples: list[dict[str, Any]]) -> None:
    for example in examples:
        assert checked(event(example), catalogue) == event(example)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"currency": "DOGE"}, "unknown_currency"),
        ({"network": None}, "network_required"),
        ({"network": "TRC-21"}, "unknown_network"),
        ({"network": "TRC-21", "status": "paid"}, "unknown_network"),
        ({"amount": "9.999999"}, "amount_out_of_range"),
        ({"amount": "5000.000001"}, "amount_out_of_range"),
        ({"amount": "100.0000001"}, "invalid_event"),
    ],
)
def test_order_that_does_not_fit_the_catalogue_is_refused(
    catalogue: Catalogue, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(EventRefused) as raised:
        checked(event(PENDING, **changes), catalogue)
    assert raised.value.reason == reason


@pytest.mark.parametrize("status", ["paid", "processing", "completed", "cancelled", "failed"])
def test_order_of_a_currency_that_has_left_the_catalogue_may_go_on(catalogue: Catalogue, status: str) -> None:
    going_on = event(PENDING, currency="DOGE", status=status)
    assert checked(going_on, catalogue) == going_on


@pytest.mark.parametrize("amount", ["10", "5000", "10.000000", "0010"])
def test_limits_are_inclusive(catalogue: Catalogue, amount: str) -> None:
    checked(event(PENDING, amount=amount), catalogue)


def test_release_is_not_refused_for_its_form(catalogue: Catalogue) -> None:
    checked(event(PENDING, status="cancelled", network="TRC-21", amount="1"), catalogue)


def test_order_of_a_currency_with_one_network_may_leave_it_out(catalogue: Catalogue) -> None:
    checked(event(PENDING, currency="BTC", network=None, amount="0.01"), catalogue)


def test_address_is_brought_into_its_one_form(catalogue: Catalogue) -> None:
    wallet = event(EXAMPLES["wallet_added"][0], currency="BTC", network=None, address=BECH32.upper())
    normal = checked(wallet, catalogue)
    assert isinstance(normal, WalletAdded)
    assert normal.address == BECH32


def test_address_of_another_network_is_refused(catalogue: Catalogue) -> None:
    with pytest.raises(EventRefused, match="invalid_address"):
        checked(event(EXAMPLES["wallet_added"][0], network="ERC-20"), catalogue)


def test_operator_sets_a_status() -> None:
    set_to = set_status("ord-1", "cancelled", "BTC", reason="client_request", actor="operator:kim", now=NOW)
    assert parse_event(encode_event(set_to)) == (set_to, 0)
    assert set_to.event_id != set_status("ord-1", "cancelled", "BTC", now=NOW).event_id


def test_operator_adds_each_wallet_once_in_its_one_form(catalogue: Catalogue) -> None:
    added = add_wallets(catalogue, "BTC", None, [BECH32.upper(), BECH32], actor="operator:kim", now=NOW)
    assert [(wallet.network, wallet.address) for wallet in added] == [("bitcoin", BECH32)]


def test_operator_retires_with_a_reason(catalogue: Catalogue) -> None:
    retired = retire_wallets(catalogue, "USDT", "TRC-20", [TRON], reason="lost", now=NOW)
    assert [(wallet.address, wallet.reason) for wallet in retired] == [(TRON, "lost")]


def test_operator_must_name_one_of_several_networks(catalogue: Catalogue) -> None:
    with pytest.raises(UnknownPool, match="several networks"):
        add_wallets(catalogue, "USDT", None, [TRON], now=NOW)


def test_all_wrong_addresses_are_told_and_none_is_added(catalogue: Catalogue) -> None:
    with pytest.raises(EventRefused) as raised:
        add_wallets(catalogue, "USDT", "TRC-20", ["T1", TRON, "T2"], now=NOW)
    assert [line.split(":")[0] for line in raised.value.message.splitlines()] == ["T1", "T2"]


def test_many_wrong_addresses_are_told_in_a_few_lines(catalogue: Catalogue) -> None:
    with pytest.raises(EventRefused) as raised:
        add_wallets(catalogue, "USDT", "TRC-20", [f"T{number}" for number in range(100)], now=NOW)
    assert raised.value.message.endswith("and 95 more")
