"""The model of the protocol: TLC finds nothing wrong with it as it is, and refuses it with one thing wrong."""

import re

import pytest

from tests.model_checker import HARMLESS, MODEL, REFUSED, Checker, CheckerMissing, find_checker


@pytest.fixture(scope="module")
def checker() -> Checker:
    try:
        return find_checker()
    except CheckerMissing as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize(("config", "log"), [("Safety", "TwoRecords"), ("Liveness", "OneRecord")])
def test_protocol_as_it_is_holds(checker: Checker, config: str, log: str) -> None:
    verdict = checker.check(config, log)
    assert verdict.violated is None, verdict.output
    assert verdict.distinct > 1_000  # a model in which hardly anything can happen proves nothing


# `make protocol` checks what takes longer.
@pytest.mark.parametrize("broken", [name for name in REFUSED if name != "catalogue before the lock"])
def test_broken_protocol_is_refused(checker: Checker, broken: str) -> None:
    config, violated, log = REFUSED[broken]
    assert checker.check(config, log, broken).violated == violated


def test_every_variant_of_the_model_is_checked() -> None:
    # A name that the model does not know would be the protocol as it is.
    known = re.findall(r'Broken [=#] "([^"]+)"', (MODEL / "Allocator.tla").read_text())
    assert {*known} == {*REFUSED, *HARMLESS}
