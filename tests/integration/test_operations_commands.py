"""Commands, run as a user runs them: what they do, what they print, and their exit codes."""

import asyncio
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from schemas.events import OrderStatusChanged, parse_event
from schemas.examples import EXAMPLES
from schemas.settings import CONNECTION_FILE, Settings
from tests.integration.commands import CommandLine, Ended
from tests.integration.test_producers_publisher import records
from tests.servers.wait import until

TRON = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
PENDING = EXAMPLES["order_status_changed"][0]
WAITING = (
    "INSERT INTO orders (currency, order_id, status, network, amount, email, locale, expires_at, queue_place,"
    " pending_offset, pending_at) VALUES ($1, $2, 'pending', 'TRC-20', '1', 'ann@example.com', 'en', now(), $3, $3,"
    " now() - interval '1 hour')"
)
NO_DELIVERY = "3c1a1aeb-4ab5-4737-95ef-b9c0bcd2f0de"
NEEDS_SERVERS = [
    ["migrate"],
    ["topics", "create"],
    ["topics", "check"],
    ["publish", "-"],
    ["order", "set-status", "ord-1", "completed"],
    ["wallets", "add", "-c", "USDT", "-n", "TRC-20", TRON],
    ["wallets", "retire", "-c", "USDT", "-n", "TRC-20", TRON],
    ["wallets", "list"],
    ["deliveries", "list"],
    ["deliveries", "show", NO_DELIVERY],
    ["deliveries", "retry", NO_DELIVERY],
    ["deliveries", "hold", "--currency", "USDT"],
    ["dead-letters", "list"],
    ["dead-letters", "replay", "3/17"],
    ["why", "ord-1"],
    ["status"],
    ["verify"],
    ["replay"],
    ["clock"],
    ["allocate"],
    ["mail"],
]
NOWHERE = {
    "WALLETQ_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "WALLETQ_DATABASE_URL": "postgresql://u:secret@127.0.0.1:1/d",
    "WALLETQ_SMTP_URL": "smtp://127.0.0.1:1",
}
"Servers that are not there."


@pytest.fixture
def walletq(settings: Settings, tmp_path: Path) -> CommandLine:
    return CommandLine(settings, tmp_path)


@pytest.fixture
def alone(tmp_path: Path) -> CommandLine:
    """Without any server."""
    return CommandLine(Settings(), tmp_path)


# Exit codes


@pytest.mark.parametrize("command", NEEDS_SERVERS, ids=" ".join)
async def test_server_that_is_not_there_is_named_in_a_line(alone: CommandLine, command: list[str]) -> None:
    ended = await alone.run(*command, given=json.dumps(PENDING), **NOWHERE)
    assert ended.code == 3
    assert_explained(ended)
    assert "cannot be reached" in ended.err
    assert "secret" not in ended.err


@pytest.mark.parametrize("command", [["status"], ["publish", "-"], ["clock"]], ids=" ".join)
async def test_wrong_setting_is_named(alone: CommandLine, command: list[str]) -> None:
    ended = await alone.run(*command, WALLETQ_KAFKA_BOOTSTRAP_SERVERS="nowhere")
    assert ended.code == 2
    assert ended.err.startswith("WALLETQ_KAFKA_BOOTSTRAP_SERVERS: ")
    assert_explained(ended)


async def test_missing_setting_says_what_to_do(alone: CommandLine) -> None:
    ended = await alone.run("status")
    assert ended.code == 2
    assert "Start `walletq up` in this folder" in ended.err
    assert_explained(ended)


@pytest.mark.parametrize(
    "command",
    [
        ["nonsense"],
        ["status", "--nonsense"],
        ["status", "--watch", "--interval", "nan"],
        ["status", "--watch", "--interval", "inf"],
        ["status", "--watch", "--interval", "0.09"],
        ["verify", "--wait", "nan"],
        ["verify", "--wait", "inf"],
        ["verify", "--wait", "-1"],
        ["order", "set-status", "ord-1", "paid", "--wait", "--timeout", "nan"],
        ["order", "set-status", "ord-1", "lost"],
        ["order", "set-status", "ord-1", "pending"],
        ["order", "set-status", "x" * 65, "paid", "-c", "BTC", "--force"],
        ["wallets", "add", "-c", "USDT", TRON],
        ["wallets", "add", "-c", "DOGE", TRON],
        ["wallets", "add", "-c", "USDT", "-n", "TRC-20"],
        ["wallets", "add", "-c", "USDT", "-n", "TRC-20", TRON, "--actor", "a\tb"],
        ["wallets", "retire", "-c", "USDT", "-n", "TRC-20", TRON, "--reason", "x" * 201],
        ["wallets", "list", "-s", "lost"],
        ["deliveries", "list", "--state", "lost"],
        ["deliveries", "list", "--older-than", "soon"],
        ["deliveries", "list", "--limit", "0"],
        ["deliveries", "show", "ord-1"],
        ["deliveries", "retry"],
        ["deliveries", "retry", NO_DELIVERY, "--state", "failed"],
        ["deliveries", "hold", "--limit", "5"],
        ["dead-letters", "list", "--state", "lost"],
        ["dead-letters", "show", "17"],
        ["dead-letters", "show", "3/17", "--raw", "--json"],
        ["dead-letters", "replay", "--yes"],
        ["dead-letters", "replay", "--currency", "USDT"],
        ["dead-letters", "replay", "3/17", "--set", "network"],
    ],
    ids=" ".join,
)
async def test_bad_usage(alone: CommandLine, command: list[str]) -> None:
    ended = await alone.run(*command, **NOWHERE)  # before any server is asked
    assert ended.code == 2
    assert "Traceback" not in ended.err
    assert ended.out == ""


async def test_settings_come_from_the_folder_of_walletq_up(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / CONNECTION_FILE).parent.mkdir()
    (tmp_path / CONNECTION_FILE).write_text(f"WALLETQ_DATABASE_URL={settings.need_database()}\n")
    ended = await CommandLine(Settings(), tmp_path).run("wallets", "list", "--json")
    assert (ended.code, ended.json) == (0, [])


async def test_clock_ends_well_at_sigterm(walletq: CommandLine) -> None:
    async with walletq.started("clock") as process, asyncio.timeout(30):
        assert process.stderr is not None
        while b"clock_started" not in await process.stderr.readline():
            pass
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


# migrate, topics


async def test_servers_are_prepared_once(walletq: CommandLine) -> None:
    assert (await walletq.run("migrate", "--json")).json == {"applied": []}
    assert (await walletq.run("topics", "create", "--json")).json == {"created": []}
    checked = await walletq.run("topics", "check", "--json")
    assert (checked.code, checked.json) == (0, {"problems": []})
    elsewhere = await walletq.run("topics", "check", "--json", WALLETQ_TOPIC_PREFIX="nowhere-")
    assert elsewhere.code == 1
    assert len(elsewhere.json["problems"]) == 4


# publish


async def test_lines_are_published(walletq: CommandLine, settings: Settings) -> None:
    events = [example for kind in EXAMPLES if kind != "wallet_assigned" for example in EXAMPLES[kind]]
    ended = await walletq.run("publish", "-", given="\n".join(map(json.dumps, events)))
    assert (ended.code, ended.out) == (0, f"published {len(events)} events\n")
    found = [parse_event(record.value).event for record in await records(settings)]
    assert found == [parse_event(json.dumps(event).encode()).event for event in events]


async def test_nothing_is_published_where_a_line_is_invalid(
    walletq: CommandLine, settings: Settings, tmp_path: Path
) -> None:
    lines = [json.dumps(PENDING), "nonsense", json.dumps(PENDING | {"network": "TRC-21"})]
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    refused = await walletq.run("publish", "events.jsonl", "--json")
    assert refused.code == 1
    assert (refused.json["published"], [line["line"] for line in refused.json["invalid"]]) == (0, [2, 3])
    assert await records(settings) == []
    skipped = await walletq.run("publish", "events.jsonl", "--skip-invalid")
    assert (skipped.code, skipped.out) == (0, "published 1 events, skipped 2\n")
    assert "line 3: unknown_network: " in skipped.err
    assert len(await records(settings)) == 1


async def test_file_that_is_not_there_is_named(walletq: CommandLine) -> None:
    ended = await walletq.run("publish", "missing.jsonl")
    assert ended.code == 1
    assert "missing.jsonl cannot be read" in ended.err
    assert_explained(ended)


# order set-status


async def test_status_is_published_for_the_currency_of_the_order(
    walletq: CommandLine, settings: Settings, database: asyncpg.Connection
) -> None:
    await database.execute(WAITING, "USDT", "ord-1", 1)
    command = ["order", "set-status", "ord-1", "cancelled", "-r", "client_request", "--actor", "operator:kim"]
    ended = await walletq.run(*command, "--json")
    assert ended.code == 0
    (record,) = await records(settings)
    assert (record.topic, record.partition, record.offset) == tuple(
        ended.json[name] for name in ("topic", "partition", "offset")
    )
    event = parse_event(record.value).event
    assert isinstance(event, OrderStatusChanged)
    assert (event.currency, event.order_id, event.status) == ("USDT", "ord-1", "cancelled")
    assert (event.reason, event.actor) == ("client_request", "operator:kim")


async def test_status_that_cannot_be_is_refused_unless_forced(
    walletq: CommandLine, settings: Settings, database: asyncpg.Connection
) -> None:
    await database.execute(WAITING, "USDT", "ord-1", 1)
    refused = await walletq.run("order", "set-status", "ord-1", "paid")
    assert refused.code == 1
    assert "waits for a wallet" in refused.err
    assert_explained(refused)
    assert await records(settings) == []
    assert (await walletq.run("order", "set-status", "ord-1", "paid", "--force")).code == 0
    assert len(await records(settings)) == 1


async def test_order_that_is_unknown_or_ambiguous_is_refused(
    walletq: CommandLine, database: asyncpg.Connection
) -> None:
    unknown = await walletq.run("order", "set-status", "ord-1", "completed")
    assert unknown.code == 1
    assert "ord-1 is not known" in unknown.err
    await database.execute(WAITING, "USDT", "ord-1", 1)
    await database.execute(WAITING, "BTC", "ord-1", 1)
    ambiguous = await walletq.run("order", "set-status", "ord-1", "completed")
    assert ambiguous.code == 1
    assert "BTC (pending), USDT (pending)" in ambiguous.err
    assert_explained(ambiguous)
    assert (await walletq.run("order", "set-status", "ord-1", "completed", "-c", "BTC")).code == 0


async def test_order_whose_currency_has_left_the_catalogue_can_still_be_ended(
    walletq: CommandLine, database: asyncpg.Connection
) -> None:
    for number, order_id in enumerate(["named", "found", "forced", "published"], start=1):
        await database.execute(WAITING, "GONE", order_id, number)
    final = {"type": "order_status_changed", "order_id": "published", "currency": "GONE", "status": "cancelled"}
    async with walletq.started("allocate"):
        for command in [["named", "-c", "GONE"], ["found"], ["forced", "-c", "GONE", "--force"]]:
            ended = await walletq.run("order", "set-status", command[0], "failed", *command[1:], "--wait", "--json")
            assert (ended.code, ended.json["outcome"]) == (0, "applied"), command
        assert (await walletq.run("publish", "-", given=json.dumps(final))).code == 0
        await until(lambda: database.fetchval("SELECT NOT EXISTS (SELECT FROM orders WHERE ended_at IS NULL)"))
    assert (await walletq.run("why", "found", "--json")).json["status"] == "failed"
    for force in ([], ["--force"]):
        unknown = await walletq.run("order", "set-status", "never-there", "failed", "-c", "GONE", *force)
        assert unknown.code == 2
        assert "GONE is not in the catalogue" in unknown.err


async def test_wait_ends_when_the_allocator_has_applied_it(walletq: CommandLine) -> None:
    added = await walletq.run("wallets", "add", "-c", "USDT", "-n", "TRC-20", TRON)
    assert added.code == 0
    assert (await walletq.run("publish", "-", given=json.dumps(PENDING))).code == 0
    async with walletq.started("allocate"):
        command = ["order", "set-status", PENDING["order_id"], "completed", "-c", "USDT", "--force", "--wait", "--json"]
        done = await walletq.run(*command)
        assert (done.code, done.json["outcome"]) == (0, "applied")
        again = await walletq.run("order", "set-status", PENDING["order_id"], "paid", "--force", "--wait", "--json")
        assert again.code == 1
        assert again.json["outcome"].startswith("invalid_transition: ")
        verified = await walletq.run("verify", "--wait", "20", "--json")
        assert verified.code == 0, verified.out
    too_late = await walletq.run(
        "order", "set-status", PENDING["order_id"], "completed", "--wait", "--timeout", "0.1", "--json"
    )
    assert too_late.code == 1
    assert too_late.json["outcome"].startswith("not applied within 0.1 s")


# wallets, status


async def test_wallets_are_added_retired_and_listed(
    walletq: CommandLine, settings: Settings, database: asyncpg.Connection, tmp_path: Path
) -> None:
    (tmp_path / "addresses").write_text(f"{TRON}  # the first\n")
    pool = ["-c", "USDT", "-n", "TRC-20"]
    assert (await walletq.run("wallets", "add", *pool, "-f", "addresses")).code == 0
    assert (await walletq.run("wallets", "retire", *pool, TRON, "-r", "lost", "--json")).json["published"] == 1
    types = [parse_event(record.value).event.type for record in await records(settings)]
    assert types == ["wallet_added", "wallet_retired"]
    wrong = await walletq.run("wallets", "add", *pool, TRON, "T123")
    assert wrong.code == 1
    assert "T123: not an address of TRC-20" in wrong.err
    assert len(await records(settings)) == 2
    await database.execute(
        "INSERT INTO wallets (currency, network, address, status, order_id, assigned_offset, added_offset)"
        " VALUES ('USDT', 'TRC-20', $1, 'occupied', 'ord-1', 1, 0)",
        TRON,
    )
    listed = await walletq.run("wallets", "list", "-c", "USDT", "-s", "occupied")
    assert listed.code == 0
    assert listed.out.splitlines()[-1].split()[2:] == [TRON, "occupied", "ord-1"]


async def test_status_shows_pools_lags_and_alerts(walletq: CommandLine, database: asyncpg.Connection) -> None:
    await database.execute(WAITING, "USDT", "ord-1", 1)
    await walletq.run("publish", "-", given=json.dumps(PENDING))
    ended = await walletq.run("status", "--json")
    assert ended.code == 0
    pools = {(pool["currency"], pool["network"]): pool for pool in ended.json["pools"]}
    assert pools["USDT", "TRC-20"]["waiting"] == 1
    assert pools["USDT", "TRC-20"]["oldest_waiting_seconds"] >= 3600
    assert pools["BTC", "bitcoin"]["alert"] == "EMERGENCY"
    assert sum(partition["lag"] for partition in ended.json["partitions"]) == 1
    plain = await walletq.run("status")
    assert plain.code == 0
    assert "EMERGENCY" in plain.out


async def test_status_can_be_watched(walletq: CommandLine) -> None:
    async with walletq.started("status", "--watch", "--interval", "0.1", "--json") as process, asyncio.timeout(30):
        assert process.stdout is not None
        for _ in range(3):
            assert json.loads(await process.stdout.readline())["pools"]
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0


async def test_watching_goes_on_after_its_session_was_cut(walletq: CommandLine, database: asyncpg.Connection) -> None:
    sessions = "SELECT pid FROM pg_stat_activity WHERE application_name = 'walletq status' AND pid <> $1"
    async with walletq.started("status", "--watch", "--interval", "0.1", "--json") as process, asyncio.timeout(30):
        assert process.stdout is not None
        await process.stdout.readline()
        cut = await database.fetchval(sessions, 0)
        await database.execute("SELECT pg_terminate_backend($1)", cut)
        await until(lambda: database.fetchval(sessions, cut), what="another session")
        for _ in range(3):
            assert json.loads(await process.stdout.readline())["pools"]
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0


async def test_the_view_for_a_terminal_ends_well_and_gives_the_terminal_back(walletq: CommandLine) -> None:
    main, terminal = os.openpty()
    shown = bytearray()
    loop = asyncio.get_running_loop()
    os.set_blocking(main, False)
    loop.add_reader(main, lambda: shown.extend(os.read(main, 65_536)))
    try:
        on_terminal = replace(walletq, out=terminal)
        async with on_terminal.started("status", "--watch", "--interval", "0.1", TERM="xterm") as process:
            await until(lambda: shown.count(b"Ctrl-C ends") > 1, what="two looks")
            assert b"\x1b[?1049h" in shown
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(10):
                assert await process.wait() == 0
        await until(lambda: b"\x1b[?1049l" in shown and b"\x1b[?25h" in shown, what="the terminal as it was")
    finally:
        loop.remove_reader(main)
        os.close(main)
        os.close(terminal)


async def test_database_without_tables_is_told(walletq: CommandLine, database: asyncpg.Connection) -> None:
    await database.execute("DELETE FROM schema_migrations")
    ended = await walletq.run("status")
    assert ended.code == 1
    assert "Run `walletq migrate`" in ended.err
    assert_explained(ended)


def assert_explained(ended: Ended) -> None:
    """A message of a few lines, and nothing else."""
    assert 1 <= len(ended.err.splitlines()) <= 3, ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""
