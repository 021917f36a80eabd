"""The demo's plan, its operator, and what it says; the whole of it runs in tests/acceptance."""

import io
import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest
from rich.console import Console

from operations.demo import unused_settings
from operations.demo.folder import clear, keep_events, mail_to
from operations.demo.look import Happening, Look, Pool, in_words, pool_name
from operations.demo.operator import Operator
from operations.demo.plan import NO_EVENT, ORDERS_PER_POOL, WALLETS_PER_POOL, Plan, make_plan
from operations.demo.telling import Story, framed, how_to_go_on, what_happened
from operations.demo.views import PlainView, TerminalView, drawn, view_on
from producers.checks import checked
from schemas.addresses import normalise
from schemas.catalogue import read_catalogue
from schemas.events import InvalidEvent, parse_event

NOW = datetime(2026, 11, 22, 16, tzinfo=UTC)
LOOK = Look(
    pools=[Pool("BTC", "bitcoin", 0, 8, 42, 8), Pool("USDT", "TRC-20", 3, 5, 0, 5)],
    orders=55,
    assigned=13,
    mails=12,
    dead_letters=1,
    happenings=(
        Happening("assigned", "demo-0009", "demo-0009 got TFXNbkzz…E68D at once (USDT TRC-20)"),
        Happening("expired", "demo-0001", "demo-0001 was not paid in time"),
    ),
)
STORY = Story(
    wallets=48,
    orders=300,
    at_once=48,
    served=240,
    gave_up=12,
    completed=217,
    cancelled=50,
    failed=33,
    expired=1,
    mails=288,
    dead_letters=1,
    longest_wait_seconds=9.14,
    notified_seconds=0.0123,
    mailed_seconds=1.25,
    longest_queue=42,
    longest_queue_pool="BTC",
)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(read_catalogue())


def test_the_plan_fills_every_pool_and_is_the_same_every_time(plan: Plan) -> None:
    catalogue = read_catalogue()
    pools = set(catalogue.pools())
    assert Counter((wallet.currency, wallet.network) for wallet in plan.wallets) == dict.fromkeys(
        pools, WALLETS_PER_POOL
    )
    assert Counter((order.currency, order.network) for order in plan.orders) == dict.fromkeys(pools, ORDERS_PER_POOL)
    assert {order.locale for order in plan.orders} == {"en", "ru"}
    assert make_plan(catalogue) == plan


def test_the_plans_addresses_are_valid_and_no_two_are_the_same(plan: Plan) -> None:
    catalogue = read_catalogue()
    for wallet in plan.wallets:
        family = catalogue.currencies[wallet.currency].networks[wallet.network].address
        assert normalise(family, wallet.address) == wallet.address
    assert len({wallet.address for wallet in plan.wallets}) == len(plan.wallets)


def test_a_producer_finds_nothing_wrong_with_the_plans_events(plan: Plan, tmp_path: Path) -> None:
    catalogue = read_catalogue()
    path = tmp_path / "events.jsonl"
    keep_events(path, plan, NOW)
    events = [parse_event(line.encode()).event for line in path.read_text().splitlines()]
    assert [checked(event, catalogue) for event in events] == events
    assert len(events) == len(plan.wallets) + len(plan.orders)
    pending = [order.pending(NOW) for order in plan.orders]
    assert [checked(event, catalogue) for event in pending] == pending


def test_one_order_is_left_to_expire_but_not_where_the_events_are_kept_for_later(plan: Plan) -> None:
    [unpaid] = [order for order in plan.orders if order.order_id in plan.unpaid]
    assert unpaid is plan.orders[0], "only the first one is sure to get a wallet"
    assert unpaid.pending(NOW).expires_at is not None
    assert unpaid.pending(NOW, expires=False).expires_at is None


def test_the_broken_record_is_no_event() -> None:
    with pytest.raises(InvalidEvent):
        parse_event(NO_EVENT)


def test_the_operator_ends_every_order_once_and_leaves_the_unpaid_one_alone() -> None:
    operator = Operator(random.Random(1), {"unpaid"})
    holding = [("BTC", f"o{number}") for number in range(50)] + [("BTC", "unpaid")]
    waiting = [("ETH", f"w{number}") for number in range(100)]
    events = [event for _ in range(30) for event in operator.round(holding, waiting, NOW)]
    ended = Counter(event.order_id for event in events if event.status in ("completed", "cancelled", "failed"))
    assert set(ended.values()) == {1}
    assert {f"o{number}" for number in range(50)} <= ended.keys()
    assert "unpaid" not in ended
    assert {event.status for event in events} >= {"paid", "processing", "completed", "cancelled", "failed"}
    assert any(order_id.startswith("w") for order_id in ended)


def test_the_operator_lets_an_order_pass_through_its_statuses() -> None:
    events = Operator(random.Random(1), set()).round([("BTC", "a")], [], NOW)
    assert {event.actor for event in events} == {"operator:demo"}
    assert [event.status for event in events] in (
        ["paid", "processing", "completed"],
        ["cancelled"],
        ["paid", "failed"],
    )


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            {"waited": True, "released_by": "demo-0002"},
            "demo-0007 waited 2.3 s and got bc1qys2a…fm6c (BTC), released by demo-0002",
        ),
        ({"waited": True, "released_by": None}, "demo-0007 waited 2.3 s and got bc1qys2a…fm6c (BTC)"),
        ({"waited": False}, "demo-0007 got bc1qys2a…fm6c at once (BTC)"),
        ({"kind": "expired"}, "demo-0007 was not paid in time: the clock has cancelled it (BTC)"),
        (
            {"kind": "refused", "order_id": "order-status/2/9", "reason": "invalid_event"},
            "The record at order-status/2/9 was refused and became a dead letter: invalid_event",
        ),
    ],
)
def test_what_happens_is_told_in_words(row: dict[str, object], words: str) -> None:
    whole = {
        "kind": "assigned",
        "order_id": "demo-0007",
        "currency": "BTC",
        "network": "bitcoin",
        "address": "bc1qys2a000000000000fm6c",
        "waited_seconds": 2.34,
        "released_by": None,
    }
    assert in_words(whole | row) == words


def test_a_pool_is_called_by_its_network_only_where_its_currency_has_several() -> None:
    assert [pool_name(*pool) for pool in read_catalogue().pools()] == [
        "BTC",
        "ETH",
        "USDT TRC-20",
        "USDT ERC-20",
        "USDT BEP-20",
        "LTC",
    ]


def test_the_plain_view_gives_a_line_a_second_and_tells_rare_things_once() -> None:
    lines: list[str] = []
    time = [0.0]
    view = PlainView(lines.append, lambda: time[0])
    with view:
        view.tell("Something begins")
        for time[0] in (0.2, 1.2, 1.4, 2.4):
            view.show(LOOK)
        time[0] = 2.6
        view.show(replace(LOOK, mails=13))
        view.show(replace(LOOK, mails=14))
    assert view.told == "Something begins"
    assert lines == [
        "  0.0 s  Something begins",
        "            demo-0001 was not paid in time",
        "  1.2 s    orders 55, waiting 42, ended 0, free wallets 3, assignments 13, mails 12, dead letters 1",
        "            demo-0009 got TFXNbkzz…E68D at once (USDT TRC-20)",
        "  2.6 s    orders 55, waiting 42, ended 0, free wallets 3, assignments 13, mails 13, dead letters 1",
        "  2.6 s    orders 55, waiting 42, ended 0, free wallets 3, assignments 13, mails 14, dead letters 1",
    ]


def test_the_table_fits_on_a_small_terminal() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(drawn(LOOK))
    text = capture.get()
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "USDT TRC-20" in text
    assert "mails sent 12" in text
    assert "demo-0001 was not paid in time" in text


def test_the_view_is_live_on_a_terminal_only() -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "xterm"})
    dumb = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    pipe = Console(file=io.StringIO(), force_terminal=False)
    assert isinstance(view_on(terminal, print, lambda: 0), TerminalView)
    assert isinstance(view_on(dumb, print, lambda: 0), PlainView)
    assert isinstance(view_on(pipe, print, lambda: 0), PlainView)


def test_the_end_is_told_in_lines_that_fit() -> None:
    text = what_happened(STORY, 31.4) + "\n" + how_to_go_on(Path(".walletq") / "demo")
    assert all(len(line) <= 100 for line in text.splitlines()), text
    assert "300 orders came in for 48 wallets: 48 got one at once, 252 had to wait" in text
    assert "12 ms" in text
    assert "1.2 s until the mail was out" in text
    assert "288 mails were sent for 288 assignments." in text
    assert "status --watch" in text


def test_mails_that_were_not_sent_are_explained() -> None:
    assert "287 mails were sent for 288 assignments; 1 not," in what_happened(replace(STORY, mails=287), 30)


def test_the_mail_is_shown_as_its_customer_sees_it(tmp_path: Path) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "a@walletq.example", "customer1@example.com", "Адрес"
    mail.set_content("Здравствуйте!\n\nbc1q\n")
    mail.add_alternative("<p>Здравствуйте!</p>", subtype="html")
    for number in (1, 11):
        content = f"X-RcptTo: customer{number}@example.com\r\n".encode() + mail.as_bytes()
        (tmp_path / f"{20 - number}.eml").write_bytes(content)
    found = mail_to(tmp_path, "customer1@example.com")
    assert found is not None
    assert found.startswith(b"X-RcptTo: customer1@")
    assert framed(found).splitlines()[1:-1] == [
        "  │ From:    a@walletq.example",
        "  │ To:      customer1@example.com",
        "  │ Subject: Адрес",
        "  │",
        "  │ Здравствуйте!",
        "  │",
        "  │ bc1q",
    ]
    assert mail_to(tmp_path, "customer2@example.com") is None


async def test_an_earlier_demos_data_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    await clear(folder)
    (folder / "kafka" / "data").mkdir(parents=True)
    (folder / "events.jsonl").write_text("{}")
    await clear(folder)
    assert [path.name for path in folder.iterdir()] == ["lock"]


def test_settings_that_the_demo_does_not_use_are_named() -> None:
    environ = {
        "WALLETQ_DATABASE_URL_FILE": "secret",
        "WALLETQ_MEMBER_ID": "",
        "WALLETQ_CACHE": "/cache",
        "WALLETQ_KAFKA_BOOTSTRAP_SERVERS": "kafka:9092",
    }
    [line] = unused_settings(environ)
    assert line.endswith("does not use WALLETQ_DATABASE_URL_FILE, WALLETQ_KAFKA_BOOTSTRAP_SERVERS.")
    assert unused_settings({"WALLETQ_CACHE": "/cache"}) == []
