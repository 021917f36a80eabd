"""The benchmark's judgement: what it takes for wrong, for missing and for too slow."""

import io
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from rich.console import Console

from benchmarks import contenders
from benchmarks.check import check
from benchmarks.delays import Arrival, Delay, falls_behind_by, first_arrivals, percentile
from benchmarks.foreknown import answers_of
from benchmarks.latency import delays_of
from benchmarks.load import PRELUDE, Load
from benchmarks.log import Assigned, Log, OrderKey, make_log
from benchmarks.mail import PAGE
from benchmarks.mail_results import MailResults, MailRow, print_mail_table
from benchmarks.meters import Memory
from benchmarks.page import BEGIN, END, put_table
from benchmarks.progress import Stalled
from benchmarks.queues import queues, shipped_pools
from benchmarks.restart import pause
from benchmarks.results import Drain, Failed, Floor, Latency, Results, Row, Scale, middle
from benchmarks.roster import roster
from benchmarks.table import WIDTH, print_table
from benchmarks.worker import Worker
from tests.reference import replay
from tests.traffic import as_records

EVENTS = 1_500
SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def log() -> Log:
    return make_log(3, EVENTS)


def test_answers_are_known_by_the_places_of_the_records_that_lead_to_them(log: Log) -> None:
    answers = answers_of(log)
    led_to = [answers.pop(f"{record.partition}/{record.offset}", None) for record in as_records(log.messages)]
    assert not answers
    assert {index for index, answer in enumerate(led_to) if answer} == {made.cause for made in log.assigned.values()}
    told = [answer for answer in led_to if answer]
    assert check([value.encode() for _, value in told], log.assigned) == (None, 0, 0)
    assert {key.encode() for key, _ in told} == log.keys


def notifications(log: Log) -> list[dict[str, object]]:
    """What a contender publishes that is right, in an order that is right for each currency."""
    ordered = sorted(log.assigned.items(), key=lambda item: item[1].cause)
    return [
        {"currency": key[0], "order_id": key[1], "network": a.network, "address": a.address, "waited": a.waited}
        for key, a in ordered
    ]


def encoded(documents: Sequence[object]) -> list[bytes]:
    return [json.dumps(document).encode() for document in documents]


def test_log_ends_each_partition_with_an_event_that_leads_to_a_notification(log: Log) -> None:
    last = {message.partition: index for index, message in enumerate(log.messages)}
    assert set(last.values()) <= {assigned.cause for assigned in log.assigned.values()}
    assert len(last) == 4


def test_log_says_what_the_reference_model_says(log: Log) -> None:
    model = replay(as_records(log.messages))
    assert model.dead_letters == []
    assert {
        (made.currency, made.order_id): (made.network, made.address, made.waited) for made in model.assignments
    } == {key: assigned[:3] for key, assigned in log.assigned.items()}
    assert {assigned.waited for assigned in log.assigned.values()} == {True, False}


def test_log_has_no_expiry_that_could_be_past(log: Log) -> None:
    assert not any(b"expires_at" in (message.value or b"") for message in log.messages)


def test_right_notifications_pass_the_check(log: Log) -> None:
    assert check(encoded(notifications(log)), log.assigned) == (None, 0, 0)


def test_repeated_notification_is_counted_and_not_wrong(log: Log) -> None:
    told = notifications(log)
    assert check(encoded([*told, *told[-5:]]), log.assigned) == (None, 0, 5)


def test_swapped_wallets_are_found(log: Log) -> None:
    told = notifications(log)
    first, second = [one for one in told if one["currency"] == "BTC"][:2]
    first["address"], second["address"] = second["address"], first["address"]
    verdict = check(encoded(told), log.assigned)
    assert verdict.wrong is not None
    assert verdict.wrong.startswith(f"order {first['order_id']} (BTC) was told network bitcoin")
    assert "must be told" in verdict.wrong


def test_order_that_is_told_two_addresses_is_found_even_if_the_first_was_right(log: Log) -> None:
    told = notifications(log)
    verdict = check(encoded([*told, {**told[0], "address": "another"}]), log.assigned)
    assert verdict.wrong is not None
    assert "and then" in verdict.wrong
    assert verdict.repeated == 1


def test_order_that_did_not_wait_and_is_said_to_have_is_found(log: Log) -> None:
    told = notifications(log)
    told[7]["waited"] = not told[7]["waited"]
    assert "waited" in (check(encoded(told), log.assigned).wrong or "")


def test_lost_notification_is_found_where_all_must_have_come(log: Log) -> None:
    told = notifications(log)
    lost = told.pop(10)
    verdict = check(encoded(told), log.assigned)
    assert verdict.wrong == f"1 orders were told nothing, first {lost['order_id']} ({lost['currency']})"
    assert check(encoded(told), log.assigned, may_be_missing=True) == (None, 1, 0)


def test_notification_of_an_order_that_gets_no_wallet_is_found(log: Log) -> None:
    told = notifications(log)
    verdict = check(encoded([{**told[0], "order_id": "ord-unheard-of"}, *told]), log.assigned)
    assert "must be told nothing" in (verdict.wrong or "")


@pytest.mark.parametrize("value", [None, b"", b"[]", b"{}", b"\xff", b'"text"'])
def test_notification_that_cannot_be_read_is_wrong(log: Log, value: bytes | None) -> None:
    verdict = check([value, *encoded(notifications(log))], log.assigned)
    assert (verdict.wrong or "").startswith("a notification cannot be read")


def test_first_difference_is_told(log: Log) -> None:
    told = notifications(log)
    told[3]["address"], told[5]["address"] = "wrong", "wrong too"
    assert str(told[3]["order_id"]) in (check(encoded(told), log.assigned).wrong or "")


def test_expected_notifications_of_a_prelude_are_those_that_it_causes(log: Log) -> None:
    key: OrderKey = max(log.assigned, key=lambda one: log.assigned[one].cause)
    assert log.up_to(len(log.messages)) == log.keys
    assert log.up_to(log.assigned[key].cause) == log.keys - {key[1].encode()}


def test_first_arrival_of_a_key_counts() -> None:
    assert first_arrivals([Arrival(1, b"a", None), Arrival(2, b"b", None), Arrival(3, b"a", None)]) == {
        b"a": 1,
        b"b": 2,
    }


@pytest.mark.parametrize(("share", "expected"), [(50, 50.0), (99, 99.0), (100, 100.0), (0.5, 1.0)])
def test_percentile_is_the_nearest_rank(share: float, expected: float) -> None:
    assert percentile([float(one) for one in range(1, 101)], share) == expected


def test_constant_delay_is_no_backlog_however_long() -> None:
    delays = [Delay(number * SECOND // 100, number * SECOND // 100 + 3 * SECOND) for number in range(1_000)]
    assert falls_behind_by(delays, 100) is None


def test_backlog_grows_by_what_is_not_done_in_its_second() -> None:
    done_a_second = 80
    delays = [Delay(number * SECOND // 100, number * SECOND // done_a_second) for number in range(1_000)]
    assert falls_behind_by(delays, 100) == pytest.approx(20, rel=0.02)


def test_too_few_delays_say_nothing() -> None:
    assert falls_behind_by([], 100) is None
    assert falls_behind_by([Delay(0, 1)], 100) is None


def load_of(log: Log, rate: float) -> Load:
    """A load on its way, without the processes that make it."""
    worker = cast(Worker, None)
    return Load(log, rate, worker, worker, start=SECOND)


def arrivals_of(log: Log, at: Callable[[Assigned], int]) -> list[Arrival]:
    """The right notifications, each of which arrives at its time."""
    told = notifications(log)
    causes = sorted(log.assigned.values(), key=lambda assigned: assigned.cause)
    return [
        Arrival(at(assigned), str(one["order_id"]).encode(), value)
        for assigned, one, value in zip(causes, told, encoded(told), strict=True)
    ]


@pytest.fixture(scope="module")
def loaded() -> Load:
    return load_of(make_log(3, PRELUDE + 1_000), 500)


def test_delay_is_from_when_its_event_was_due_and_the_prelude_has_none(loaded: Load) -> None:
    arrivals = arrivals_of(loaded.log, lambda assigned: (loaded.due(assigned.cause) or 0) + 7)
    delays = delays_of(loaded, arrivals)
    assert {delay.at - delay.due for delay in delays} == {7}
    assert len(delays) == len(loaded.log.keys - loaded.log.up_to(PRELUDE))
    assert delays[0].due < SECOND * 1.1
    assert loaded.due(PRELUDE + 500) == 2 * SECOND


def test_pause_is_that_of_the_partition_that_waited_longest(loaded: Load) -> None:
    killed = SECOND + SECOND // 2
    back = {b"BTC": 2, b"ETH": 3, b"LTC": 9, b"USDT": 4}  # seconds after the kill

    def at(assigned: Assigned) -> int:
        due = loaded.due(assigned.cause) or 0
        if due <= killed:
            return due
        return max(due, killed + back[loaded.log.messages[assigned.cause].key or b""] * SECOND)

    measured = pause(loaded, killed, arrivals_of(loaded.log, at))
    assert (measured.seconds, measured.shortest_seconds, measured.wrong) == (9.0, 2.0, None)


def test_what_a_kill_loses_is_wrong(loaded: Load) -> None:
    arrivals = arrivals_of(loaded.log, lambda assigned: loaded.due(assigned.cause) or 0)
    measured = pause(loaded, SECOND, arrivals[:-1], Stalled("nothing new for 90 s"))
    assert (measured.wrong or "").startswith("nothing new for 90 s; 1 orders were told nothing")


def test_contender_that_never_comes_back_has_no_pause(loaded: Load) -> None:
    arrivals = arrivals_of(loaded.log, lambda assigned: loaded.due(assigned.cause) or 0)
    with pytest.raises(Stalled):
        pause(loaded, 100 * SECOND, arrivals)


def test_missing_and_broken_contenders_are_in_the_roster_with_their_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bench_broken.py").write_text("import no_such_module_anywhere")
    (tmp_path / "bench_empty.py").write_text("")
    (tmp_path / "bench_absent.py").write_text(
        "class Absent:\n    name = 'absent'\n    def why_not(self): return 'no Java here'\nCONTENDERS = [Absent()]"
    )
    monkeypatch.setattr(contenders, "__path__", [str(tmp_path), *contenders.__path__])
    try:
        entries = roster()
        with pytest.raises(ValueError, match="no contender nobody"):
            roster(["nobody"])
        assert [entry.row.name for entry in roster(["bench_absent", "walletq"])] == ["walletq", "absent"]
    finally:
        for name in ("bench_broken", "bench_empty", "bench_absent"):
            sys.modules.pop(f"benchmarks.contenders.{name}", None)
    reasons = {entry.row.name: entry.row.why_not for entry in entries}
    assert entries[0].row.name == "walletq"
    assert reasons["walletq"] is None
    assert reasons["absent"] == "no Java here"
    assert "no_such_module_anywhere" in (reasons["bench_broken"] or "")
    assert "CONTENDERS" in (reasons["bench_empty"] or "")


def drain(speed: float, wrong: str | None = None) -> Drain:
    return Drain(
        events=100,
        notifications=30,
        repeated=0,
        seconds=1.0,
        seconds_to_first=1.0,
        events_per_second=speed,
        events_per_second_by_fifth=[speed] * 5,
        events_per_second_with_start=speed / 2,
        cpu_us_per_event=10.0,
        cpu_us_per_event_with_start=20.0,
        servers_cpu_us_per_event={"kafka": 1.0, "postgres": 2.0},
        observer_cpu_us_per_event=0.5,
        memory=[Memory("python", 100.0, 90.0)],
        memory_mb_by_fifth=[],
        servers_memory=[],
        wrong=wrong,
    )


def test_the_drain_with_the_median_speed_counts_with_the_memory_of_that_which_had_most() -> None:
    most = replace(drain(10), memory=[Memory("python", 130.0, 90.0)])
    found = middle([drain(30), most, drain(20)])
    assert isinstance(found, Drain)
    assert (found.events_per_second, found.speeds, found.memory[0].peak_mb) == (20, [30, 10, 20], 130.0)


@pytest.mark.parametrize("wrong", [Failed("died"), drain(50, wrong="order x was told y")])
def test_one_of_several_drains_that_goes_wrong_is_shown(wrong: Drain | Failed) -> None:
    assert middle([drain(30), wrong, drain(20)]) is wrong


def latency(rate: float, behind: float | None = None) -> Latency:
    return Latency(rate, 10.0, 100, 2.0, 8.0, 31.0, behind, 0.1, 0.2, 50.0, {"kafka": 10.0}, 0, 0, None)


def results() -> Results:
    return Results(
        machine={"cores": 2, "kafka": "4.4.0", "postgresql": "18.6", "python": "3.11.7"},
        options={"events": 100},
        contenders=[
            Row("walletq", drain=drain(30_000), latency=[latency(500)]),
            Row("slow", drain=drain(1_000), latency=[latency(500, behind=120.0)]),
            Row("liar", drain=drain(90_000, wrong="order x was told y"), latency=[Failed("died", 500)]),
            Row("absent", why_not="no Java here"),
        ],
        floors=[Floor("consume only", 100, 1.0, 60_000, 5.0, {"kafka": 1.0}, 90.0)],
        latency_floors=[Row("fetch, publish", latency=[latency(500), Failed("stood still", 2_000)])],
        scales=[Scale("1,000,000 waiting orders", "1,000 waiting orders", 0.95, drain(28_500, "order z was lost"))],
    )


def test_table_shows_ratios_and_what_is_wrong_late_or_absent() -> None:
    console = Console(width=WIDTH, file=io.StringIO())
    print_table(results(), console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    rows = {line.split("│")[1].strip(): line for line in text.splitlines() if line.startswith("│")}
    assert "2.0 / 8.0 / 31" in rows["walletq"]
    assert "30.00 ×" in rows["slow"]
    assert "behind, 120/s" in rows["slow"]
    assert "WRONG 90,000" in rows["liar"]
    assert "FAILED" in rows["liar"]
    assert "not run" in rows["absent"]
    assert "0.50 ×" in rows["consume only"]
    assert "2.0 / 8.0 / 31" in rows["fetch, publish"]
    assert "fetch, publish, 2000/s: stood still" in text
    assert "0.95 × 1,000" in rows["walletq, 1,000,000 waiting orders"]
    assert "WRONG 28,500" in rows["walletq, 1,000,000 waiting orders"]
    assert "1,000,000 waiting orders: order z was lost" in text
    assert "absent cannot run here: no Java here" in text
    assert "liar, drain: order x was told y" in text
    assert "liar, 500/s: died" in text


def test_page_gets_each_table_and_keeps_its_words(tmp_path: Path) -> None:
    page, begin, other = (
        tmp_path / "page.md",
        BEGIN.format("make bench"),
        f"{BEGIN.format('make bench-mail')}mails\n{END}",
    )
    page.write_text(f"before\n{begin}last run's\n{END}between\n{other}after\n")
    put_table(partial(print_table, results()), page, "make bench")
    put_table(partial(print_table, results()), page, "make bench")
    text = page.read_text()
    assert text.startswith(f"before\n{begin}```text\n")
    assert text.endswith(f"\n```\n{END}between\n{other}after\n")
    assert text.count("30.00 ×") == 1
    assert "last run's" not in text
    page.write_text("no marks\n")
    with pytest.raises(ValueError, match="no place for the table"):
        put_table(partial(print_table, results()), page, "make bench")


@pytest.mark.parametrize("command", ["make bench", "make bench-mail"])
def test_page_has_a_place_for_the_table_of_every_command(command: str) -> None:
    assert BEGIN.format(command) in PAGE.read_text()


def test_mail_table_shows_walletq_beside_the_others_and_what_is_wrong() -> None:
    walletq = MailRow("walletq mail", 10_000, 5, 2_000, 400, 50, {"kafka": 20, "postgres": 60}, 90, [1_900.4], [81, 82])
    other = MailRow("another", 500, 5, 100, 9_000, None, {}, 70, wrong="499 mails to 499 recipients")
    text = io.StringIO()
    found = MailResults({"cores": 2, "kafka": "4", "postgresql": "18", "python": "3"}, {}, [walletq, other])
    print_mail_table(found, Console(file=text, width=WIDTH))
    rows = {line.split("│")[1].strip(): line for line in text.getvalue().splitlines() if line.startswith("│")}
    assert "1.00 ×" in rows["walletq mail"]
    assert "WRONG 100" in rows["another"]
    assert "20.00 ×" in rows["another"]
    assert "1,900 mails/s; 81, 82 MB" in text.getvalue()
    assert "another: 499 mails to 499 recipients" in text.getvalue()


@pytest.mark.parametrize("waiting", [1, 30])
def test_queues_lead_to_what_the_reference_model_says(waiting: int) -> None:
    made = queues(shipped_pools(), waiting=waiting, events=3_000, seed=1)
    model = replay(as_records(made.log.messages))
    assert model.dead_letters == []
    assert {(one.currency, one.order_id): (one.network, one.address, one.waited) for one in model.assignments} == {
        key: (one.network, one.address, one.waited) for key, one in made.log.assigned.items()
    }
    causes = [made.log.messages[one.cause].value or b"" for one in made.log.assigned.values()]
    assert not any(b'"pending"' in value for value in causes)
    lengths = {pool: len(queue) for pool, queue in model.queues.items()}
    assert set(lengths.values()) == {max(1, waiting // len(shipped_pools()))}
    before = {cause for one in made.log.assigned.values() if (cause := one.cause) < made.begin}
    assert len(before) == len(shipped_pools()) * 100


def test_results_are_written_as_json(tmp_path: Path) -> None:
    results().write(tmp_path / "new" / "results.json")
    document = json.loads((tmp_path / "new" / "results.json").read_text())
    assert document["contenders"][0]["drain"]["memory"] == [{"process": "python", "peak_mb": 100.0, "final_mb": 90.0}]
    assert document["contenders"][1]["latency"][0]["falls_behind_by"] == 120.0
    assert document["floors"][0]["name"] == "consume only"
