"""Whether a place in the database is one in this log."""

import pytest

from consumers.errors import LogDoesNotFit
from consumers.places import Log, Place, check_log_fits

PLACE = Place(partition_count=12, cluster_id="cluster", next_offset=5, published_offset=5)


@pytest.mark.parametrize(("start", "end"), [(0, 5), (5, 5), (0, 9)])
def test_a_log_that_reaches_the_place_fits(start: int, end: int) -> None:
    check_log_fits("topic", 1, PLACE, Log("cluster", 12, start, end))


@pytest.mark.parametrize(
    ("log", "found", "advice"),
    [
        (Log("cluster", 12, 0, 4), "the log ends at offset 4", "WALLETQ_DATABASE_URL"),
        (Log("cluster", 12, 6, 9), "the log starts at offset 6", "WALLETQ_DATABASE_URL"),
        (Log("other", 12, 0, 9), "this one is other", "WALLETQ_KAFKA_BOOTSTRAP_SERVERS"),
        (Log("cluster", 13, 0, 9), "13 partitions, and had 12", "with an empty database"),
    ],
)
def test_a_log_of_another_history_is_refused_with_what_to_do(log: Log, found: str, advice: str) -> None:
    with pytest.raises(LogDoesNotFit) as refused:
        check_log_fits("topic", 1, PLACE, log)
    assert found in str(refused.value)
    assert advice in str(refused.value)
