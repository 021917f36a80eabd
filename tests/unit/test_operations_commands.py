"""The pure parts of the commands."""

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from rich.console import Console
from typer.testing import CliRunner

from operations.__main__ import app
from operations.logs import configure_logs
from operations.orders import Known, only_one, refusal
from operations.pace import Pace
from operations.publishing import check_lines
from operations.status.facts import Status, alert_level, partitions, pools
from operations.status.screen import view
from operations.terminal import Grid, as_text
from operations.up import up
from operations.wallets import read_addresses
from schemas.catalogue import read_catalogue
from schemas.events import FINAL
from schemas.examples import EXAMPLES
from schemas.settings import Settings, SettingsError
from storage.errors import WalletqError

NOW = datetime(2026, 11, 22, 16, tzinfo=UTC)
PLACE = {"topic": "order-status", "partition": 3, "next_offset": 7, "unpublished": 0} | dict.fromkeys(
    ("applied", "no_effect", "dead_letters"), 0
)
LIVE = {
    "waiting": Known("BTC", "pending", waiting=True),
    "holding": Known("BTC", "pending", waiting=False),
    "paid": Known("BTC", "paid", waiting=False),
    "processing": Known("BTC", "processing", waiting=False),
}


@pytest.mark.parametrize("status", sorted(FINAL))
@pytest.mark.parametrize("now", LIVE)
def test_live_order_may_always_end(now: str, status: str) -> None:
    assert refusal(LIVE[now], status) is None


@pytest.mark.parametrize(
    ("now", "status", "allowed"),
    [
        ("waiting", "paid", False),
        ("waiting", "processing", False),
        ("holding", "paid", True),
        ("holding", "processing", True),
        ("paid", "processing", True),
        ("paid", "paid", True),
        ("processing", "paid", False),
    ],
)
def test_progress_needs_a_wallet_and_goes_forward(now: str, status: str, allowed: bool) -> None:
    assert (refusal(LIVE[now], status) is None) == allowed


@pytest.mark.parametrize(("now", "allowed"), [("waiting", True), ("holding", True), ("paid", False)])
def test_payment_timeout_ends_only_a_pending_order(now: str, allowed: bool) -> None:
    assert (refusal(LIVE[now], "cancelled", "payment_timeout") is None) == allowed


def test_final_status_stays() -> None:
    ended = Known("BTC", "completed", waiting=False)
    assert refusal(ended, "completed") is None
    assert "final" in str(refusal(ended, "failed"))
    assert "final" in str(refusal(ended, "paid"))


def test_order_id_of_several_currencies_lists_them() -> None:
    orders = [Known("BTC", "pending", waiting=True), Known("USDT", "completed", waiting=False)]
    with pytest.raises(WalletqError, match=r"BTC \(pending\), USDT \(completed\)"):
        only_one(orders, "ord-1")
    with pytest.raises(WalletqError, match="ord-1 is not known"):
        only_one([], "ord-1")


COMMANDS = [
    *("demo", "up", "allocate", "mail", "clock", "migrate", "topics create", "topics check", "publish"),
    *("order set-status", "wallets add", "wallets retire", "wallets list", "status", "verify", "replay"),
    *("deliveries list", "deliveries show", "deliveries retry", "deliveries hold", "deliveries settle"),
    *("dead-letters list", "dead-letters show", "dead-letters replay", "why", "letters preview"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_how_to_use_it(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        app([*command.split(), "--help"], prog_name="walletq")
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert "Example: " in shown
    assert f"walletq {command}" in " ".join(shown.partition("Example: ")[2].split())


@pytest.mark.parametrize(("free", "alert"), [(0, "EMERGENCY"), (1, "CRITICAL"), (3, "CRITICAL"), (4, "OK")])
def test_alert_level_is_critical_at_the_threshold_and_below(free: int, alert: str) -> None:
    assert alert_level(free, critical_free=3) == alert


def test_pool_without_any_wallet_is_an_emergency() -> None:
    found = pools(read_catalogue(), [], [], NOW, {})
    assert {(pool.currency, pool.network) for pool in found} == set(read_catalogue().pools())
    assert {pool.alert for pool in found} == {"EMERGENCY"}


def test_pool_that_left_the_catalogue_is_shown_while_it_has_wallets() -> None:
    wallets = {"currency": "DOGE", "network": "doge", "free": 1, "occupied": 2, "cooling": 3, "retired": 4}
    queue = {"currency": "DOGE", "network": "doge", "waiting": 5, "oldest_pending_at": NOW - timedelta(hours=1)}
    pool = pools(read_catalogue(), [wallets], [queue], NOW, {})[-1]
    assert (pool.currency, pool.free, pool.waiting, pool.oldest_waiting_seconds) == ("DOGE", 1, 5, 3600)


def test_partition_that_nobody_has_consumed_lags_by_all_of_it() -> None:
    assert [found.lag for found in partitions({"t": {0: 7}}, [])] == [7]


def test_a_lag_that_kafka_does_not_tell_is_not_zero() -> None:
    found = partitions({"order-status": {3: None}}, [PLACE])
    assert [(one.lag, one.end_offset) for one in found] == [(None, None)]


def test_the_screen_of_a_terminal_fits_into_80_columns_and_says_all_of_it() -> None:
    pace = Pace(3_600, 1_000, 900, 400, 75.0, 4_000.0)
    wallets = {"currency": "USDT", "network": "TRC-20", "free": 400, "occupied": 12_345, "cooling": 678, "retired": 9}
    queue = {"currency": "USDT", "network": "TRC-20", "waiting": 54_321, "oldest_pending_at": NOW - timedelta(hours=10)}
    found = Status(
        NOW,
        pools(read_catalogue(), [wallets], [queue], NOW, {("USDT", "TRC-20"): pace}),
        partitions({"order-status": {3: None, 4: 0}}, [PLACE]),
        {"sent": 1_000, "failed": 2},
        {"order-status": {"invalid_event": 3, "evil\x1b[31m": 1}},
    )
    for width in (80, 120):
        console = Console(width=width, file=io.StringIO(), record=True)
        console.print(view(found, width))
        shown = console.export_text()
        assert max(map(len, shown.splitlines())) <= width
        assert "…" not in shown
        for text in (
            "USDT/TRC-20",
            "54,321",
            "10:00:00",
            "40 minutes",
            "90%",
            "1:06:40",
            "Kafka does not answer",
        ):
            assert text in shown, text
        for text in ("EMERGENCY", "none free", "2 failed", "3 invalid_event", "1,000"):
            assert text in shown, text
        assert "\x1b[31m" not in shown
        console.print(view(found, width, "PostgreSQL cannot be reached."))
        old = console.export_text()
        assert old.startswith("PostgreSQL cannot be reached. What follows is old.")
        assert "54,321" in old


def test_lines_are_judged_one_by_one() -> None:
    pending = EXAMPLES["order_status_changed"][0]
    lines = [
        pending,
        pending | {"amount": "1"},
        "nonsense",
        {"type": "order_status_changed", "order_id": "ord-1", "currency": "USDT", "status": "failed", "reason": 1},
    ]
    source = io.BytesIO(b"\n\n".join(json.dumps(line).encode() for line in lines))
    found = check_lines(source, read_catalogue())
    assert (found.valid, found.dropped_fields) == (2, 1)
    assert [number for number, _ in found.invalid] == [3, 5]
    assert found.invalid[0][1].startswith("amount_out_of_range: ")


def test_addresses_come_from_arguments_and_a_file(tmp_path: Path) -> None:
    (tmp_path / "addresses").write_text("# ours\nb  # the second\n\n c \n")
    assert read_addresses(["a"], str(tmp_path / "addresses")) == ["a", "b", "c"]


def test_no_address_at_all_is_bad_usage(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no address"):
        read_addresses([], None)
    with pytest.raises(WalletqError, match="cannot be read"):
        read_addresses([], str(tmp_path / "missing"))


def test_text_is_aligned_and_cannot_steer_a_terminal() -> None:
    text = as_text(Grid("Title", ("a", "b"), [("x\x1b[31m", 1), (None, 22)]))
    assert text.splitlines() == ["Title", "a       b", "x\ufffd[31m  1", "        22"]


@pytest.fixture
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def _logged(**configured: Any) -> str:
    stream = io.StringIO()
    configure_logs("info", stream=stream, **configured)
    structlog.get_logger("walletq.test").info("batch_applied", records=3, note="two\nlines \udcff")
    structlog.get_logger("walletq.test").debug("unseen")
    logging.getLogger("aiokafka.consumer").warning("left the %s", "group")
    logging.getLogger("aiokafka.consumer").info("unseen")
    return stream.getvalue()


@pytest.mark.usefixtures("_logging_as_before")
def test_logs_are_a_json_object_on_each_line_where_nobody_watches() -> None:
    first, second = map(json.loads, _logged().splitlines())
    assert list(first)[:4] == ["timestamp", "level", "event", "logger"]
    assert (first["event"], first["records"], first["note"]) == ("batch_applied", 3, "two\nlines \udcff")
    assert (second["event"], second["level"]) == ("left the group", "warning")


@pytest.mark.usefixtures("_logging_as_before")
def test_logs_can_be_had_readable_without_a_terminal() -> None:
    text = _logged(form="console")
    assert "batch_applied" in text
    assert "\x1b[" not in text
    assert not text.startswith("{")


@pytest.mark.parametrize(
    "wrong",
    [["--at", "yesterday"], ["--at", "2026-11-22T16:00:00"], ["--at", "2990-01-01T00:00:00Z"], ["--note", "a\nb"]],
    ids=" ".join,
)
def test_a_mail_is_settled_with_a_time_that_is_over_and_a_note_on_one_line(wrong: list[str]) -> None:
    ended = CliRunner().invoke(app, ["deliveries", "settle", "3c1a1aeb-4ab5-4737-95ef-b9c0bcd2f0de", *wrong])
    assert ended.exit_code == 2, ended.output
    assert "expected a" in ended.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "--partition", "99999999999"],
        ["list", "--offset", str(2**63)],
        ["list", "--older-than", "999999999d"],
        ["replay", "3/17", "--actor", "x" * 201],
    ],
    ids=" ".join,
)
def test_what_no_record_can_have_is_bad_usage(arguments: list[str]) -> None:
    ended = CliRunner().invoke(app, ["dead-letters", *arguments])
    assert ended.exit_code == 2, ended.output
    assert "Invalid value" in ended.output


def test_encodings_break_nothing(tmp_path: Path) -> None:
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii"}
    for arguments, code, told in (
        (["why", os.fsdecode(b"\xff")], 2, "locale's encoding"),
        (["letters", "preview", "--to", str(tmp_path / "й")], 0, r"\u0439/ru-queued.eml"),
        (["letters", "preview", "--to", str(tmp_path / "й"), "--json"], 0, r"\u0439/ru-queued.eml"),
    ):
        command = [sys.executable, "-m", "operations", *arguments]
        ended = subprocess.run(command, env=ascii_only, capture_output=True, text=True)
        assert (ended.returncode, told in ended.stdout + ended.stderr) == (code, True), ended.stderr


LETTERS = ("letters", "preview", "--to", "letters")
SETTINGS = {
    "a setting": ({"WALLETQ_KAFKA_SSL_KEYFILE": "client.key"}, "needs WALLETQ_KAFKA_SSL_CERTFILE"),
    "a URL of the database": ({"WALLETQ_DATABASE_URL": "postgresql://h/d?sslmode=on"}, "WALLETQ_DATABASE_URL: "),
}


@pytest.mark.parametrize(
    "arguments", [("allocate",), ("mail",), ("clock",), ("up",), ("status",), LETTERS], ids=" ".join
)
@pytest.mark.parametrize("wrong", SETTINGS)
def test_a_wrong_setting_stops_every_command(
    tmp_path: Path, arguments: tuple[str, ...], wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables, said = SETTINGS[wrong]
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(app, arguments, env=variables)
    assert isinstance(ended.exception, SettingsError)
    assert said in str(ended.exception)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [("allocate",), ("status",), ("up", "--servers-only")], ids=" ".join)
def test_a_variable_that_is_no_setting_is_told_and_stops_nothing(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "operations", *arguments]
    # Nothing answers there: what follows the warning comes to an end.
    servers = {
        "WALLETQ_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "WALLETQ_DATABASE_URL": "postgresql://127.0.0.1:1/d",
        "WALLETQ_SMTP_URL": "smtp://127.0.0.1:1",
    }
    environ = os.environ | servers | {"WALLETQ_SMPT_URL": "smtp://h"}
    ended = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 3, ended.stderr
    (line,) = [json.loads(line) for line in ended.stderr.splitlines() if "unknown_setting" in line]
    assert (line["level"], line["variable"], line["closest"]) == ("warning", "WALLETQ_SMPT_URL", "WALLETQ_SMTP_URL")


async def test_up_needs_an_http_port_for_each_consumer(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"WALLETQ_HTTP_PORT: .* at most 65533"):
        await up(Settings(http_port=65_534), tmp_path / "new", servers_only=False, report=print)
    assert not (tmp_path / "new").exists()
