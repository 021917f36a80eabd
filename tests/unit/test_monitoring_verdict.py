"""Alive and ready: what is a problem, since when, and which of them a restart would help."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from monitoring.following import History, answered, follow
from monitoring.samples import Answer, ClockSample, End, MailSample, PartitionSample, Sample
from monitoring.verdict import LIMITS, Problem, Verdict, as_json, judge, stalled_seconds

TOPIC = "order-status"
PARTITION = PartitionSample(TOPIC, 3, "apply", next_offset=10, published_offset=10)
MAIL = MailSample(turns=1, in_flight=0, lease_seconds=60.0, refusals=0, probe_in=0.0, silent_seconds=None)
LAGGING = End(end_offset=20, position=12)


@dataclass
class Process:
    """A process that is looked at every second."""

    now: float = 1_000.0
    history: History = field(default_factory=lambda: History(1_000.0))
    servers: dict[str, Answer | None] = field(default_factory=lambda: {"database": None, "kafka": None})
    oldest_due: float | None = None

    def __post_init__(self) -> None:
        self.answer(database=None, kafka=None)

    def answer(self, **errors: str | None) -> None:
        """The servers answer so."""
        for name, error in errors.items():
            self.servers[name] = answered(self.servers[name], error, self.now)

    def run(self, seconds: float, sample: Sample, ends: Mapping[tuple[str, int], End] | None = None) -> Verdict:
        """It is like this for so long; the verdict at the end."""
        for _ in range(int(seconds)):
            self.now += 1
            self.history = follow(
                self.history,
                sample,
                self.now,
                ends={(TOPIC, 3): LAGGING} if ends is None else ends,
                servers=self.servers,
                oldest_due_seconds=self.oldest_due,
            )
        return judge(self.history, self.now)


def problems(verdict: Verdict) -> set[Problem]:
    return {one.problem for one in verdict.findings}


def partition(**said: object) -> Sample:
    return Sample(partitions=(PARTITION._replace(**said),))  # type: ignore[arg-type]


def test_partition_with_lag_that_does_not_move_is_stuck_and_named() -> None:
    process = Process()
    assert process.run(LIMITS.stuck - 1, partition()).ready
    verdict = process.run(5, partition())
    (finding,) = verdict.findings
    assert (finding.problem, finding.where) == (Problem.PARTITION_STUCK, f"{TOPIC}/3")
    assert "apply" in finding.why
    assert not verdict.alive


def test_partition_that_fails_and_tries_again_is_alive_and_not_ready() -> None:
    verdict = Process().run(LIMITS.stuck + 5, partition(error="DiskFullError: no space"))
    assert problems(verdict) == {Problem.PARTITION_FAILS}
    assert (verdict.alive, verdict.ready) == (True, False)
    assert verdict.findings[0].why == "DiskFullError: no space"


def test_partition_without_work_is_never_stuck() -> None:
    applied = {(TOPIC, 3): End(end_offset=10, position=10)}
    assert Process().run(500, partition(step="wait"), applied).ready


def test_markers_of_transactions_are_no_work() -> None:
    behind_a_marker = {(TOPIC, 3): End(end_offset=11, position=11)}
    assert Process().run(500, partition(step="wait"), behind_a_marker).ready


def test_records_in_hand_are_work_even_where_all_is_fetched() -> None:
    fetched = {(TOPIC, 3): End(end_offset=20, position=20)}
    assert not Process().run(LIMITS.stuck + 5, partition(in_hand=10), fetched).alive


def test_owner_that_does_not_get_its_place_is_stuck() -> None:
    waiting = partition(step="take_place", next_offset=None, published_offset=None)
    assert problems(Process().run(LIMITS.stuck + 5, waiting)) == {Problem.PARTITION_STUCK}


def test_outbox_is_told_apart_from_the_partition() -> None:
    fetched = {(TOPIC, 3): End(end_offset=10, position=10)}
    verdict = Process().run(LIMITS.stuck + 5, partition(step="publish", published_offset=7), fetched)
    assert problems(verdict) == {Problem.OUTBOX_STUCK}
    verdict = Process().run(LIMITS.stuck + 5, partition(published_offset=7, error="KafkaTimeoutError"), fetched)
    assert problems(verdict) == {Problem.OUTBOX_FAILS}
    assert verdict.alive


@given(st.lists(st.integers(1, int(LIMITS.stuck) - 2), max_size=20))
def test_who_moves_in_time_is_ready_however_far_behind(gaps: list[int]) -> None:
    process = Process()
    for number, gap in enumerate(gaps):
        ends = {(TOPIC, 3): End(10_000, 12)}
        assert process.run(gap, partition(next_offset=10 + number, published_offset=10 + number), ends).ready


@given(st.sampled_from(["database", "kafka"]), st.integers(1, 300), st.integers(0, 300))
def test_server_that_is_away_makes_nobody_dead(server: str, before: int, away: int) -> None:
    process = Process()
    alive_before = process.run(before, partition()).alive
    process.answer(**{server: "no answer"})
    verdict = process.run(away + 1, partition(error="TimeoutError"))
    assert verdict.alive
    assert not verdict.ready
    assert problems(verdict) == {Problem(f"{server}_away")}
    process.answer(**{server: None})
    assert process.run(LIMITS.stuck - 2, partition()).ready  # it has its time anew
    assert not process.run(3, partition()).alive
    assert alive_before == (before <= LIMITS.stuck + 1)


def test_mail_server_that_refuses_us_is_told_apart_from_one_that_is_away() -> None:
    process = Process()
    process.oldest_due = 1_000.0
    refused = process.run(200, Sample(mail=MAIL._replace(refusals=3, probe_in=7.0)), {})
    assert problems(refused) == {Problem.MAIL_SERVER_REFUSES}
    assert (refused.alive, refused.ready) == (True, False)
    away = process.run(1, Sample(mail=MAIL._replace(turns=2, silent_seconds=LIMITS.silent + 1)), {})
    assert problems(away) == {Problem.MAIL_SERVER_AWAY}
    assert (away.alive, away.ready) == (True, False)


def test_mails_that_are_late_are_told_of_while_the_mailer_works_on() -> None:
    process = Process()
    process.oldest_due = LIMITS.overdue + 1
    for turn in range(100):
        verdict = process.run(2, Sample(mail=MAIL._replace(turns=turn)), {})
        assert problems(verdict) == {Problem.DELIVERIES_OVERDUE}
        assert (verdict.alive, verdict.ready) == (True, True)


def test_mailer_that_takes_on_nothing_is_stuck() -> None:
    hanging = Sample(mail=MAIL._replace(in_flight=8))
    assert Process().run(LIMITS.stuck + 59, hanging, {}).ready  # a claim may take as long as its lease
    verdict = Process().run(LIMITS.stuck + 65, hanging, {})
    assert problems(verdict) == {Problem.DISPATCH_STUCK}
    assert not verdict.alive


def test_mailer_whose_claims_or_outcomes_fail_is_alive_and_not_ready() -> None:
    failing = Sample(mail=MAIL._replace(in_flight=8, error="settling: TimeoutError"))
    assert Process().run(LIMITS.stuck - 1, failing, {}).ready
    for seconds in (LIMITS.stuck + 5, LIMITS.stuck + 65):
        verdict = Process().run(seconds, failing, {})
        assert problems(verdict) == {Problem.DISPATCH_FAILS}
        assert (verdict.alive, verdict.ready) == (True, False)
        assert "TimeoutError" in verdict.findings[0].why


def test_clock_that_does_not_look_is_stuck() -> None:
    sample = Sample(clock=ClockSample(looks=5, interval_seconds=30.0))
    assert Process().run(LIMITS.stuck + 29, sample, {}).alive
    assert problems(Process().run(LIMITS.stuck + 35, sample, {})) == {Problem.CLOCK_STUCK}


def test_loop_that_does_not_turn_is_all_that_is_known() -> None:
    process = Process()
    process.run(5, partition())
    verdict = judge(process.history, process.now + LIMITS.loop + 1)
    assert problems(verdict) == {Problem.LOOP_BLOCKED}
    assert not verdict.alive


def test_before_the_first_answer_a_process_is_starting() -> None:
    verdict = judge(History(0.0, servers={"database": None, "kafka": None}), 1.0)
    assert problems(verdict) == {Problem.STARTING}
    assert (verdict.alive, verdict.ready) == (True, False)


def test_without_the_end_nobody_knows_whether_it_stalls() -> None:
    process = Process()
    process.run(5, partition(step="wait"))
    process.run(5, partition(step="wait"), {})
    (known,) = process.history.partitions
    assert (known.lag, stalled_seconds(known, process.now)) == (None, None)
    process.run(5, partition(in_hand=3), {})
    assert stalled_seconds(process.history.partitions[0], process.now) is not None  # what is in hand is known


def test_progress_tells_lag_and_ages() -> None:
    process = Process()
    verdict = process.run(30, partition(published_offset=7))
    said = as_json("allocate", process.history, verdict, process.now)
    (told,) = said["partitions"]
    assert (told["lag"], told["has_work"], told["step"]) == (10, True, "apply")
    assert told["stalled_seconds"] == told["unpublished_seconds"] == 29.0
