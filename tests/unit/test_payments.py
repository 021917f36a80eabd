"""Payment URIs: exact, and only where the catalogue has a pattern."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from schemas.addresses import normalise
from schemas.catalogue import Catalogue, read_catalogue
from schemas.payments import PaymentUri, payment_uri, units

PATTERN: TypeAdapter[str] = TypeAdapter(PaymentUri)
BTC, ETH = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "0x71C7656EC7ab88b098defB751B7401B5f6d8976F"
LTC = "ltc1qw508d6qejxtdg4y5r3zarvary0c5xw7kgmn4n9"
USDT_ON_ERC_20 = "ethereum:0xdAC17F958D2ee523a2206206994597C13D831ec7@1/transfer?address={address}&uint256={amount:6}"


@pytest.mark.parametrize(
    ("currency", "network", "address", "amount", "uri"),
    [
        ("BTC", "bitcoin", BTC, "0.01234567", f"bitcoin:{BTC}?amount=0.01234567"),
        ("LTC", "litecoin", LTC, "50", f"litecoin:{LTC}?amount=50"),
        ("ETH", "ethereum", ETH, "1.67", f"ethereum:{ETH}@1?value=1670000000000000000"),
        ("ETH", "ethereum", ETH, "0.003000000000000001", f"ethereum:{ETH}@1?value=3000000000000001"),
    ],
)
def test_the_shipped_catalogue_has_the_standards(
    currency: str, network: str, address: str, amount: str, uri: str
) -> None:
    pattern = read_catalogue().currencies[currency].networks[network].payment_uri
    assert pattern is not None
    assert payment_uri(pattern, address, amount) == uri


@pytest.mark.parametrize("network", ["TRC-20", "ERC-20", "BEP-20"])
def test_a_token_has_the_bare_address(network: str) -> None:
    assert read_catalogue().currencies["USDT"].networks[network].payment_uri is None


def test_a_catalogue_may_have_the_uri_of_a_token() -> None:
    contract = USDT_ON_ERC_20[len("ethereum:") :].partition("@")[0]
    assert normalise("ethereum", contract) == contract
    uri = payment_uri(PATTERN.validate_python(USDT_ON_ERC_20), ETH, "250.00")
    assert uri == f"ethereum:{contract}@1/transfer?address={ETH}&uint256=250000000"


def test_how_a_payment_is_written_decides_nothing() -> None:
    shipped = read_catalogue()
    bare = shipped.model_dump()
    assert all("payment_uri" not in network for each in bare["currencies"].values() for network in each["networks"])
    assert Catalogue.model_validate(bare).sha256 == shipped.sha256


@given(st.from_regex(r"[0-9]{1,20}(\.[0-9]{1,20})?", fullmatch=True), st.integers(0, 30))
def test_units_are_exact_or_none(amount: str, decimals: int) -> None:
    sign, digits, exponent = Decimal(amount).as_tuple()
    assert isinstance(exponent, int)
    found = units(amount, decimals)
    if found is None:
        assert any(digits[len(digits) + exponent + decimals :] if exponent + decimals else ()) or exponent < -decimals
    else:
        assert found == str(int(found))
        assert int(found) * 10 ** max(0, -exponent) == int("".join(map(str, digits))) * 10**decimals
    assert sign == 0


def test_an_amount_that_is_finer_than_the_unit_has_no_uri() -> None:
    assert payment_uri(USDT_ON_ERC_20, ETH, "1.0000001") is None
    assert payment_uri(USDT_ON_ERC_20, ETH, "1.0000000") is not None


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "bitcoin:",
        "bitcoin:{address}{address}",
        "bitcoin:{address:8}",
        "bitcoin:{address}?amount={amount}&label={company}",
        "bitcoin:{address}?amount={amount:x}",
        "bitcoin:{address}?label=a b",
        "bitcoin:{address}\n",
        "{address}",
        "https//{address}",
        "bitcoin:{address}?" + "x" * 200,
    ],
)
def test_a_pattern_that_is_no_uri_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError):
        PATTERN.validate_python(pattern)
