"""How fast wallets go and come back, and what is said of it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operations.pace import Pace, about, exactly, expected_wait_seconds, runway_seconds, runway_words

UNITS = {"minute": 60, "hour": 3_600, "day": 86_400}
counts = st.integers(0, 5_000)
paces = st.builds(
    lambda seconds, waited, at_once, released: Pace(seconds, waited + at_once, waited, released),
    st.floats(0, 3_600),
    counts,
    counts,
    counts,
)


@pytest.mark.parametrize(
    ("free", "pace", "words"),
    [
        (0, None, "none free"),
        (5, None, "no orders"),
        (5, Pace(3_600, 0, 0, 4), "no orders"),
        (5, Pace(3_600, 10, 0, 10), "steady"),
        (20, Pace(3_600, 40, 0, 10), "40 minutes"),
        (20, Pace(3_600, 12, 0, 10), "10 hours"),
        (1, Pace(3_600, 100, 0, 0), "under a minute"),
        (3, Pace(2, 1, 0, 0), "3 minutes"),  # two seconds say nothing: they count as a minute
    ],
)
def test_runway_in_words(free: int, pace: Pace | None, words: str) -> None:
    assert runway_words(free, pace) == words


@given(st.integers(1, 10_000), paces)
def test_after_the_runway_nothing_is_left(free: int, pace: Pace) -> None:
    seconds = runway_seconds(free, pace)
    drain = pace.per_hour(pace.assigned) - pace.per_hour(pace.released)
    assert (seconds is None) == (drain <= 0)
    if seconds is not None:
        assert free - drain * seconds / 3_600 == pytest.approx(0, abs=1e-6 * free)


@given(st.integers(0, 10_000), paces)
def test_whoever_is_further_behind_waits_longer(ahead: int, pace: Pace) -> None:
    wait, longer = expected_wait_seconds(ahead, pace), expected_wait_seconds(ahead + 1, pace)
    assert (wait is None) == (pace.waited == 0)
    if wait is not None and longer is not None:
        assert 0 < wait < longer


def test_without_a_pace_nobody_knows_how_long() -> None:
    assert expected_wait_seconds(0, None) is None
    assert expected_wait_seconds(0, Pace(3_600, 5, 0, 5)) is None


@given(st.floats(0, 10**8))
def test_a_duration_is_told_to_within_a_third(seconds: float) -> None:
    words = about(seconds)
    if words == "under a minute":
        assert seconds < 60
        return
    found = re.fullmatch(r"about ([\d,]+) (minute|hour|day)s?", words)
    assert found is not None
    told = int(found[1].replace(",", "")) * UNITS[found[2]]
    assert told == pytest.approx(seconds, rel=0.34)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3_725, "1 h 2 min"),
        (90_000, "1 d 1 h"),
        (86_405, "1 d 5 s"),
        (-3, "0 s"),
    ],
)
def test_a_duration_in_its_two_largest_units(seconds: float, words: str) -> None:
    assert exactly(seconds) == words
