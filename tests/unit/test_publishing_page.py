"""docs/publishing.md against the models and the rules: what it shows is so."""

import dataclasses
import json
from typing import Any

import pytest

from consumers.allocator.state import Reason
from producers.checks import EventRefused, checked
from schemas.catalogue import read_catalogue
from schemas.events import InvalidEvent, WalletAssigned, parse_event
from schemas.export import NOTIFICATIONS as NOTIFICATION_TYPES
from schemas.export import ORDER_EVENTS
from schemas.topics import PARTITIONS
from tests.pages import DOCS
from tests.publishing_page import EVENTS, NOTIFICATIONS, PAGE, refused
from tests.traffic import crc32_partition, right_partition

CATALOGUE = read_catalogue()
SEEN_BY_PRODUCERS = {
    "invalid_event",
    "unknown_currency",
    "unknown_network",
    "network_required",
    "amount_out_of_range",
    "invalid_address",
}
PROGRAMS = {"python": "publish.py", "java": "Publish.java", "go": "publish.go"}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.get("status", event["type"]))
def test_event_of_the_page_is_one_that_the_allocator_takes(event: dict[str, Any]) -> None:
    parsed = parse_event(json.dumps(event).encode())
    assert parsed.dropped_fields == 0
    assert event.keys() <= {field.name for field in dataclasses.fields(parsed.event)}, "a field that nobody reads"
    checked(parsed.event, CATALOGUE)


def test_every_type_and_status_is_on_the_page() -> None:
    assert {event["type"] for event in EVENTS} == ORDER_EVENTS.keys()
    assert {event["type"] for event in NOTIFICATIONS} == set(NOTIFICATION_TYPES)
    assert {"pending", "paid", "processing", "completed", "cancelled"} <= {event.get("status") for event in EVENTS}


def test_notification_of_the_page_is_one_that_the_allocator_makes() -> None:
    for event in NOTIFICATIONS:
        assert event.keys() == WalletAssigned.model_fields.keys()
        WalletAssigned.model_validate_json(json.dumps(event))


@pytest.mark.parametrize(("reason", "event"), refused())
def test_producer_sees_what_is_refused_whatever_the_state(reason: str, event: dict[str, Any]) -> None:
    assert _reason(event) == (reason if reason in SEEN_BY_PRODUCERS else None)


def test_every_reason_is_on_the_page() -> None:
    text = PAGE.path.read_text()
    assert [reason for reason in Reason if f"`{reason}`" not in text] == []


@pytest.mark.parametrize("language", PROGRAMS)
def test_code_on_the_page_is_that_of_the_program(language: str) -> None:
    program = _lines((DOCS / "examples" / PROGRAMS[language]).read_text())
    blocks = PAGE.blocks(language)
    assert blocks
    for block in blocks:
        assert _lines(block) in program


def test_partitions_of_the_page_are_those_of_the_hashes() -> None:
    murmur2, crc32 = PAGE.table("", "BTC")
    currencies = [column for column in murmur2 if column]
    assert currencies == sorted(CATALOGUE.currencies)
    assert PARTITIONS == 12
    for currency in currencies:
        assert int(murmur2[currency]) == right_partition(currency.encode())
        assert int(crc32[currency]) == crc32_partition(currency.encode())


def _reason(event: dict[str, Any]) -> str | None:
    """Why a producer that checks would not publish it."""
    try:
        checked(parse_event(json.dumps(event).encode()).event, CATALOGUE)
    except InvalidEvent:
        return "invalid_event"
    except EventRefused as error:
        return error.reason
    return None


def _lines(text: str) -> str:
    """Without indentation."""
    return "\n".join(line.strip() for line in text.strip().splitlines())
