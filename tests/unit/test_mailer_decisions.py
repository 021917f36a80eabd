"""The mailer's pure decisions: verdicts, endings, the gate, what a batch of notifications changes."""

import math
import ssl
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID, uuid4

import pytest
from aiosmtplib import SMTPServerDisconnected
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.mailer.endings import Backoff, Dossier, Ending, after_sending, before_sending, when_claimed
from consumers.mailer.gate import Gate
from consumers.mailer.limits import Go, Later, Limits, domain_of
from consumers.mailer.mail_server import MailServer, read_mail_server
from consumers.mailer.notices import Known, Record, decide, mail_refused, read_notice
from consumers.mailer.silence import Silence
from consumers.mailer.smtp import read_loss
from consumers.mailer.terms import Terms
from consumers.mailer.verdicts import Insecure, Kind, NoAnswer, Phase, Problem, Reply, Unsupported, Verdict, classify
from schemas.catalogue import read_catalogue
from schemas.events import WalletAssigned
from schemas.settings import Settings
from schemas.trace import read_traceparent

NOW = datetime(2026, 11, 22, 16, 0, tzinfo=UTC)
DOSSIER = Dossier(
    notification_id=uuid4(),
    kind="assigned",
    partition=3,
    offset=7,
    order_id="ord-1",
    currency="USDT",
    network="TRC-20",
    address="T1",
    waited=True,
    assigned_at=NOW,
    released=False,
    queue_place=None,
    attempts=0,
    email="ann@example.com",
    locale="en",
    amount="250.00",
    expires_at=NOW + timedelta(minutes=90),
    traceparent=None,
    read_at=NOW,
)


@pytest.mark.parametrize(
    ("phase", "problem", "kind"),
    [
        (Phase.FINAL_DOT, None, Kind.SENT),
        (Phase.CONNECT, NoAnswer("timeout"), Kind.TRANSIENT),
        (Phase.CONNECT, Reply(421, "busy"), Kind.TRANSIENT),
        (Phase.CONNECT, Reply(554, "not you"), Kind.SERVER_REFUSES),
        (Phase.CONNECT, Insecure("certificate"), Kind.SERVER_REFUSES),
        (Phase.EHLO, Reply(550, "who?"), Kind.SERVER_REFUSES),
        (Phase.EHLO, NoAnswer("lost"), Kind.TRANSIENT),
        (Phase.STARTTLS, Reply(454, "later"), Kind.TRANSIENT),
        (Phase.STARTTLS, Insecure("not offered"), Kind.SERVER_REFUSES),
        (Phase.AUTH, Reply(535, "wrong"), Kind.SERVER_REFUSES),
        (Phase.AUTH, Reply(454, "later"), Kind.TRANSIENT),
        (Phase.MAIL, Reply(550, "not from you"), Kind.SERVER_REFUSES),
        (Phase.MAIL, Reply(451, "later"), Kind.TRANSIENT),
        (Phase.RCPT, Reply(450, "grey"), Kind.TRANSIENT),
        (Phase.RCPT, Reply(550, "nobody"), Kind.PERMANENT),
        (Phase.RCPT, Reply(530, "log in"), Kind.SERVER_REFUSES),
        (
            Phase.RCPT,
            Reply(554, "5.7.1 <unknown[192.0.2.7]>: Client host rejected: Access denied"),
            Kind.SERVER_REFUSES,
        ),
        (Phase.RCPT, Reply(554, "5.7.1 <ann@example.com>: Relay access denied"), Kind.SERVER_REFUSES),
        (Phase.RCPT, Reply(550, "relay not permitted"), Kind.SERVER_REFUSES),
        (Phase.RCPT, Reply(550, "5.1.8 <a@b.example>: Sender address rejected: Domain not found"), Kind.SERVER_REFUSES),
        (Phase.RCPT, Reply(550, "5.7.23 SPF validation failed"), Kind.SERVER_REFUSES),
        (Phase.RCPT, Reply(554, "5.7.1 <ann@example.com>: Recipient address rejected: Access denied"), Kind.PERMANENT),
        (Phase.RCPT, Reply(550, '5.1.1 <"x>: Relay access denied"@example.com>: No such user'), Kind.PERMANENT),
        (Phase.RCPT, Reply(450, "4.7.1 <mail.example>: Helo command rejected: Host not found"), Kind.TRANSIENT),
        (Phase.MAIL, Unsupported("SMTPUTF8"), Kind.PERMANENT),
        (Phase.RCPT, NoAnswer("lost"), Kind.TRANSIENT),
        (Phase.DATA, Reply(451, "later"), Kind.TRANSIENT),
        (Phase.DATA, Reply(554, "no"), Kind.PERMANENT),
        (Phase.DATA, Reply(250, "what?"), Kind.TRANSIENT),
        (Phase.DATA, NoAnswer("timeout"), Kind.TRANSIENT),
        (Phase.FINAL_DOT, Reply(452, "full"), Kind.TRANSIENT),
        (Phase.FINAL_DOT, Reply(554, "spam"), Kind.PERMANENT),
        (Phase.FINAL_DOT, Reply(550, "5.7.26 Multiple authentication checks failed"), Kind.SERVER_REFUSES),
        (Phase.FINAL_DOT, Reply(-1, "garbage"), Kind.UNKNOWN),
        (Phase.FINAL_DOT, NoAnswer("lost"), Kind.UNKNOWN),
        (Phase.FINAL_DOT, NoAnswer("timeout"), Kind.UNKNOWN),
    ],
)
def test_a_verdict_follows_from_the_phase(phase: Phase, problem: Problem | None, kind: Kind) -> None:
    assert classify(phase, problem).kind is kind


@given(st.sampled_from(list(Phase)), st.integers(-1, 999))
def test_a_message_may_have_arrived_only_after_the_final_dot(phase: Phase, code: int) -> None:
    for problem in (Reply(code, "x"), NoAnswer("lost")):
        assert (classify(phase, problem).kind is Kind.UNKNOWN) <= (phase is Phase.FINAL_DOT)


def test_a_verdict_names_no_customer_but_says_what_the_server_told_us() -> None:
    assert classify(Phase.RCPT, Reply(550, "5.1.1 <ann@example.com>: unknown")).text == "RCPT: 550 5.1.1"
    assert classify(Phase.FINAL_DOT, Reply(554, "ann@example.com")).text == "FINAL_DOT: 554"
    denied = Reply(554, "5.7.1 <ann@example.com>: Relay access denied")
    assert classify(Phase.RCPT, denied).text == "RCPT: 554 5.7.1 Relay access denied"
    assert classify(Phase.MAIL, Reply(450, "too much for <ann@example.com>")).text == "MAIL: 450 too much for <…>"
    assert classify(Phase.AUTH, Reply(535, "5.7.8 Bad\ncredentials")).text == "AUTH: 535 5.7.8 Bad credentials"


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, None),
        ({"released": True}, "superseded"),
        ({"address": None}, "superseded"),
        ({"email": None}, "superseded"),
        ({"kind": "queued", "queue_place": 7}, None),
        ({"kind": "queued", "queue_place": None}, "superseded"),
        ({"kind": "queued", "queue_place": 7, "expires_at": NOW}, "expired"),
        ({"expires_at": NOW}, "expired"),
        ({"expires_at": NOW + timedelta(seconds=1)}, None),
    ],
)
def test_what_is_checked_before_a_mail_goes_out(changes: dict[str, object], state: str | None) -> None:
    ending = before_sending(replace(DOSSIER, **changes), NOW)  # type: ignore[arg-type]
    assert (ending and ending.state) == state


@pytest.mark.parametrize("unknown", ["resend", "hold"])
@pytest.mark.parametrize("interrupted", [False, True])
def test_an_interrupted_attempt_is_held_where_the_policy_says_so(
    interrupted: bool, unknown: Literal["resend", "hold"]
) -> None:
    ending = when_claimed(interrupted=interrupted, unknown=unknown)
    assert (ending and ending.state) == ("held" if interrupted and unknown == "hold" else None)


def end(kind: Kind, unknown: str = "resend", attempts: int = 0, left: float = 5400, draw: float = 0.5) -> Ending:
    return after_sending(
        Verdict(kind, "text", Phase.FINAL_DOT),
        attempts=attempts,
        expires_at=NOW + timedelta(seconds=left),
        now=NOW,
        unknown=unknown,  # type: ignore[arg-type]
        backoff=Backoff(),
        draw=lambda: draw,
    )


def test_what_becomes_of_a_delivery_after_an_attempt() -> None:
    assert end(Kind.SENT) == Ending("sent", "text", counted=True, shown=True)
    assert end(Kind.PERMANENT) == Ending("failed", "text", counted=True)
    assert end(Kind.SERVER_REFUSES) == Ending("due", "text", counted=False)
    assert end(Kind.UNKNOWN, "hold") == Ending("held", "unknown: text", counted=True, shown=True)
    assert end(Kind.UNKNOWN) == Ending("due", "unknown: text", counted=True, delay=0.5, shown=True)
    assert end(Kind.TRANSIENT, attempts=3) == Ending("due", "transient: text", counted=True, delay=4.0)
    assert end(Kind.TRANSIENT, attempts=3, left=3.9).state == "expired"


@given(st.integers(0, 10**9), st.floats(0, 1, exclude_max=True))
def test_waits_grow_up_to_the_ceiling(attempts: int, draw: float) -> None:
    delay = Backoff(1.0, 300.0).delay(attempts, lambda: draw)
    assert 0 <= delay < min(300.0, 2.0 ** min(attempts, 60)) + 1e-9


@given(st.floats(1, 3600), st.sampled_from(["resend", "hold"]), st.integers(1, 100) | st.just(math.inf))
def test_the_longest_attempt_ends_before_its_lease_and_before_a_wallet_that_is_released_meanwhile_is_another_s(
    lease: float, unknown: str, cool_down_minutes: float
) -> None:
    terms = Terms(8, lease, unknown, cool_down_seconds=cool_down_minutes * 60)  # type: ignore[arg-type]
    assert terms.begin_seconds > 0
    assert terms.begin_seconds + terms.send_seconds <= terms.answer_seconds < min(lease, cool_down_minutes * 60)


@pytest.mark.parametrize(
    ("minutes", "seconds"), [((0, 0, 0, 0), 3240), ((0, 3, 0, 0), 162), ((9, 0, 1, 2), 54), ((90,) * 4, 3240)]
)
def test_an_answer_is_waited_for_no_longer_than_the_shortest_cool_down(
    minutes: tuple[int, ...], seconds: float
) -> None:
    shipped = read_catalogue()
    cooling = {
        code: currency.model_copy(update={"cool_down_minutes": cool_down})
        for (code, currency), cool_down in zip(shipped.currencies.items(), minutes, strict=True)
    }
    terms = Terms.of(Settings(mail_lease_seconds=3600), shipped.model_copy(update={"currencies": cooling}))
    assert terms.answer_seconds == pytest.approx(seconds)


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_while_the_server_refuses_us_one_probe_at_a_time_goes_out() -> None:
    time = Time()
    gate = Gate(time, base=1, ceiling=4)
    assert gate.room(8, 0) == 8
    waits = []
    for _ in range(4):
        wait = gate.refused(time.now)
        assert wait is not None
        waits.append(wait)
        assert gate.refused(time.now - 0.5) is None  # an older attempt says nothing new
        assert gate.room(8, 0) == 0
        time.now += wait
        assert gate.room(8, 1) == 0
        assert gate.room(8, 0) == 1
    assert waits == [1, 2, 4, 4]
    assert gate.refusals == 4
    gate.unanswered(time.now - 100)
    assert gate.room(8, 0) == 1
    gate.unanswered(time.now)  # the server has gone away, but may still dislike us
    assert (gate.room(8, 0), gate.probe_in, gate.refusals) == (0, 4, 4)
    time.now += 4
    assert not gate.passed(time.now - 100)
    assert gate.passed(time.now)
    assert (gate.room(8, 0), gate.refusals) == (8, 0)
    gate.unanswered(time.now)
    assert gate.is_open
    assert gate.refused(time.now) == 1


def test_silence_lasts_from_the_first_attempt_that_met_it_until_an_answer() -> None:
    time = Time()
    silence = Silence(time, forgotten_after=60)
    no_answer, refusal = (classify(Phase.CONNECT, problem) for problem in (NoAnswer("timeout"), Reply(554, "not you")))
    assert silence.seconds is None
    time.now = 30
    assert silence.note(refusal, 5) == 0
    assert silence.note(no_answer, 10) == 0
    assert silence.note(no_answer, 25) == 0
    assert silence.seconds == 20
    time.now = 86  # nobody has asked for a minute
    assert silence.seconds is None
    silence.note(no_answer, 80)
    assert silence.seconds == 76
    assert silence.note(refusal, 85) == 76
    assert silence.seconds is None
    silence.note(no_answer, 86)
    assert silence.seconds == 0


# Limits


@settings(deadline=None)
@given(st.floats(0.05, 50), st.lists(st.floats(0, 3), min_size=1, max_size=20))
def test_in_no_span_of_time_more_mails_go_to_a_domain_than_its_limit(rate: float, steps: list[float]) -> None:
    limits, now = Limits(None, rate), 1_000.0
    gone: list[tuple[float, int]] = []
    for step in steps:
        now += step
        mails = 0
        while limits.ask("example.com", now, 0) == Go(0):
            mails += 1
        gone.append((now, mails))
    for first, (since, _) in enumerate(gone):
        for last, (until, _) in enumerate(gone[first:], first):
            mails = sum(count for _, count in gone[first : last + 1])
            assert mails <= 1 + rate * (until - since + 1) + 1e-6


@settings(deadline=None)
@given(st.floats(0.1, 100), st.integers(1, 200), st.floats(0.001, 0.5))
def test_whoever_comes_again_when_told_to_gets_its_turn(rate: float, mails: int, late: float) -> None:
    limits, asked = Limits(None, rate), Counter[int]()
    due = [(1_000.0, mail) for mail in range(mails)]
    went = []
    while due:
        at, mail = due.pop(0)
        asked[mail] += 1
        match limits.ask("example.com", at, 0):
            case Go():
                went.append((at, mail))
            case Later(seconds):
                due.append((at + seconds + late, mail))
                due.sort()
    assert max(asked.values()) <= 2  # all that wait at once would ask again and again
    assert [mail for _, mail in went] == list(range(mails))
    assert went[-1][0] <= 1_000 + mails / rate + late + 1e-6


def test_a_domain_at_its_limit_is_not_waited_for_and_holds_up_no_other() -> None:
    limits = Limits(None, 1)
    assert [limits.ask("a.example", 0, patience=100) for _ in range(4)] == [Go(0), Go(0), Later(1), Later(2)]
    assert limits.ask("b.example", 0, patience=100) == Go(0)


def test_the_overall_limit_is_waited_for_but_not_beyond_the_lease() -> None:
    limits = Limits(2, None)
    assert [limits.ask("", 0, patience=1) for _ in range(6)] == [Go(0)] * 3 + [Go(0.5), Go(1), Later(1.5)]
    assert limits.ask("", 0.5, patience=1) == Go(1)
    assert Limits(None, None).ask("", 0, 0) == Go(0)


def test_a_mail_that_the_overall_limit_keeps_back_takes_nothing_of_its_domain() -> None:
    limits = Limits(1, 1)
    assert [limits.ask("a.example", 0, patience=0) for _ in range(3)] == [Go(0), Go(0), Later(1)]
    assert [limits.ask("b.example", 0, patience=0) for _ in range(3)] == [Later(1)] * 3
    assert [limits.ask("b.example", at, patience=0) for at in (1, 2)] == [Go(0), Go(0)]


def test_quiet_domains_are_given_up() -> None:
    limits = Limits(None, 10)
    for number in range(30_000):
        limits.ask(f"{number}.example", number / 1_000, 0)
    assert len(limits._lanes) < 15_000  # noqa: SLF001


@pytest.mark.parametrize(
    ("address", "domain"),
    [
        ("ann@Example.COM", "example.com"),
        ("ann@bücher.example", "xn--bcher-kva.example"),
        ("ann@BÜCHER.example", "xn--bcher-kva.example"),
        ("ann@xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("añn@xn--BCHER-KVA.example", "xn--bcher-kva.example"),
        ('"a@b"@example.com', "example.com"),
        ("nobody", "nobody"),
        ("ann@\u2028", "\u2028"),
    ],
)
def test_domains_compare_in_one_form(address: str, domain: str) -> None:
    assert domain_of(address) == domain


# Notifications


def record(offset: int, notification_id: UUID, partition: int = 0) -> Record:
    said = WalletAssigned(
        notification_id=notification_id,
        order_id="ord-1",
        currency="USDT",
        network="TRC-20",
        address="T1",
        amount="1",
        waited=False,
        assigned_at=NOW,
        expires_at=NOW,
    )
    return Record(partition, offset, 0, b"ord-1", said.model_dump_json().encode(), None)


IDS = [uuid4() for _ in range(4)]
KNOWN = {one: Known("USDT", "ord-1", has_delivery=False) for one in IDS[:3]} | {
    IDS[2]: Known("USDT", "ord-1", has_delivery=True)
}
values = st.sampled_from(IDS) | st.sampled_from([b"", b"[]", b"\xff", b'{"type":"wallet_assigned"}'])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5), values)))
def test_every_record_is_accounted_for_once(rows: list[tuple[int, int, UUID | bytes]]) -> None:
    places = {0: 10, 1: 20, 2: 30}
    at = dict(places)
    records = []
    for partition, gap, value in rows:
        at[partition] += gap
        one = record(at[partition] - 1, IDS[0], partition)
        records.append(
            replace(one, value=value) if isinstance(value, bytes) else record(at[partition] - 1, value, partition)
        )
    changes = decide([read_notice(one) for one in records], KNOWN, places)
    assert {step.partition: (step.start, step.end) for step in changes.steps} == {
        partition: (places[partition], at[partition]) for partition in places
    }
    assert sum(step.applied for step in changes.steps) == len(changes.deliveries)
    assert sum(step.dead_letters for step in changes.steps) == len(changes.dead_letters)
    assert sum(step.applied + step.no_effect + step.dead_letters for step in changes.steps) == len(records)
    assert {one.notification_id for one in changes.deliveries} <= set(IDS[:2])
    assert len({one.notification_id for one in changes.deliveries}) == len(changes.deliveries)
    assert {letter.reason for letter in changes.dead_letters} <= {"invalid_event", "unknown_assignment"}


@pytest.mark.parametrize("timestamp", [-1, 0, 2**62])
def test_no_timestamp_stops_a_partition(timestamp: int) -> None:
    changes = decide([read_notice(Record(0, 0, timestamp, None, b"x", None))], {}, {0: 0})
    assert changes.dead_letters[0].record_at.tzinfo is UTC


def test_a_trace_context_is_taken_where_it_is_one() -> None:
    good = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert read_traceparent([("traceparent", b"x\x00"), ("traceparent", good)]) == good.decode()
    assert read_traceparent([("traceparent", None), ("other", good)]) is None


def test_a_refused_mail_s_dead_letter_holds_the_notification() -> None:
    failed = Ending("failed", "RCPT: 550", counted=True)
    assert mail_refused(replace(DOSSIER, kind="queued"), failed) is None
    assert mail_refused(DOSSIER, Ending("sent")) is None
    letter = mail_refused(DOSSIER, failed)
    assert letter is not None
    assert (letter.partition, letter.offset, letter.key, letter.reason) == (3, 7, b"ord-1", "mail_refused")
    assert letter.value is not None
    assert WalletAssigned.model_validate_json(letter.value).notification_id == DOSSIER.notification_id
    assert b"ann@" not in letter.value


# Which server


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://127.0.0.1:2525", MailServer("127.0.0.1", 2525, implicit_tls=False, starttls=False)),
        ("smtp://[::1]:2525", MailServer("::1", 2525, implicit_tls=False, starttls=False)),
        ("smtp://localhost", MailServer("localhost", 587, implicit_tls=False, starttls=False)),
        ("smtp://mail.example", MailServer("mail.example", 587, implicit_tls=False, starttls=True)),
        ("smtp://10.0.0.1:25", MailServer("10.0.0.1", 25, implicit_tls=False, starttls=True)),
        ("smtps://u%40x:p%3A@mail.example", MailServer("mail.example", 465, True, False, "u@x", "p:")),
    ],
)
def test_starttls_is_required_except_on_loopback(url: str, server: MailServer) -> None:
    assert read_mail_server(url) == server


def test_a_password_does_not_show() -> None:
    assert "secret" not in repr(read_mail_server("smtps://user:secret@mail.example"))


@pytest.mark.parametrize(
    ("phase", "problem"),
    [
        (Phase.CONNECT, Insecure),
        (Phase.STARTTLS, Insecure),
        (Phase.EHLO, Insecure),
        (Phase.MAIL, NoAnswer),
        (Phase.FINAL_DOT, NoAnswer),
    ],
)
def test_tls_that_breaks_in_the_middle_of_a_mail_is_a_lost_connection(phase: Phase, problem: type[Problem]) -> None:
    lost = SMTPServerDisconnected("Connection lost")
    lost.__cause__ = ssl.SSLError(1, "[SSL] bad record mac")
    assert isinstance(read_loss(phase, lost), problem)
    assert isinstance(read_loss(phase, ConnectionResetError()), NoAnswer)
