"""What the clock makes of time."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from producers.expiry import Recently, payment_timeout, wallet_cooled
from schemas.events import encode_event, parse_event

EXPIRED: Any = {"currency": "BTC", "order_id": "ord-1", "expires_at": datetime(2026, 11, 22, 17, 30, tzinfo=UTC)}
COOLED: Any = {
    "currency": "BTC",
    "network": "bitcoin",
    "address": "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
    "cooling_assignment_id": UUID("0b6f5a3e-8f0d-5d0e-a6a8-2f5f1c1f7a90"),
    "cooling_until": datetime(2026, 11, 22, 18, tzinfo=UTC),
}


def test_every_clock_makes_the_same_event_of_the_same_order() -> None:
    assert payment_timeout(EXPIRED) == payment_timeout(EXPIRED)
    later = EXPIRED | {"expires_at": EXPIRED["expires_at"] + timedelta(minutes=1)}
    assert payment_timeout(later).event_id != payment_timeout(EXPIRED).event_id


def test_every_clock_makes_the_same_event_of_the_same_cooling() -> None:
    assert wallet_cooled(COOLED) == wallet_cooled(COOLED)
    again = COOLED | {"cooling_assignment_id": UUID(int=1)}
    assert wallet_cooled(again).event_id != wallet_cooled(COOLED).event_id


def test_events_of_the_clock_are_what_the_allocator_takes() -> None:
    for event in (payment_timeout(EXPIRED), wallet_cooled(COOLED)):
        assert parse_event(encode_event(event)) == (event, 0)
    assert (payment_timeout(EXPIRED).status, payment_timeout(EXPIRED).reason) == ("cancelled", "payment_timeout")


def test_event_is_not_published_again_within_a_short_time() -> None:
    event, recently = payment_timeout(EXPIRED), Recently(repeat_seconds=60)
    assert recently.without([event], now=0) == [event]
    recently.add([event], now=0)
    assert recently.without([event], now=59) == []
    assert recently.without([event], now=60) == [event]


def test_what_is_applied_is_forgotten() -> None:
    event, recently = payment_timeout(EXPIRED), Recently()
    recently.add([event], now=0)
    assert recently.without([], now=1) == []
    assert recently.without([event], now=2) == [event]
