"""`walletq why` and what `walletq status` knows of the pace, on what real consumers have made."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from operations.pace import read_paces
from operations.why.command import why
from operations.why.facts import read_facts
from schemas.settings import Settings
from schemas.topics import names
from storage.errors import WalletqError
from tests.integration.allocator_world import allocating, messages, pending, processed, publish, status, wallet
from tests.integration.commands import CommandLine
from tests.integration.mailer_world import mailing
from tests.servers.inbox import Inbox
from tests.servers.wait import until

ADDRESS = wallet(1)["address"]


async def asked(
    settings: Settings, capsys: pytest.CaptureFixture[str], order_id: str, currency: str | None = None
) -> dict[str, Any]:
    """The answer, with its exit code."""
    code = await why(settings, order_id, currency, as_json=True)
    answer: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return answer | {"code": code}


async def test_the_story_of_real_orders(
    settings: Settings, database: asyncpg.Connection, capsys: pytest.CaptureFixture[str], inbox: Inbox
) -> None:
    refused = pending("second", amount="1")
    log = [wallet(1), pending("first"), refused, pending("second"), pending("third"), pending("fourth")]
    log += [status("first", "paid", actor="operator:ann"), status("first", "completed", actor="operator:kim")]
    placed = await publish(settings, messages(*log))
    async with allocating(settings), mailing(settings):
        await processed(settings, database, len(log))
        await until(lambda: _is_sent(database, "second"))
        first, second, fourth = [await asked(settings, capsys, one) for one in ("first", "second", "fourth")]
    assert await inbox.mails()
    assert [one["code"] for one in (first, second, fourth)] == [0, 0, 0]
    ended = next(one for one in first["story"] if one["kind"] == "ended")
    assert ended["text"] == (f"completed by operator:kim; gives back the wallet {ADDRESS}, which the order second gets")
    paid = next(one for one in first["story"] if one["text"].startswith("paid"))
    assert paid["text"] == "paid, by operator:ann"
    assert datetime.fromisoformat(paid["at"]) > datetime.now(UTC) - timedelta(minutes=5)
    assert paid["event"] == f"{names(settings).orders}/{placed[6].partition}/{placed[6].offset}"
    texts = [one["text"] for one in second["story"]]
    assert texts[0].startswith("pending is refused, amount_out_of_range: ")
    assert texts[1].endswith("no wallet was free, so it waits")
    assert texts[2].endswith("the order first became completed and gave it back")
    assert texts[-1] == "the mail with the wallet is sent, at attempt 1"
    assert second["standing"][-1] == "The mail to example.com with its wallet is sent."
    assert (fourth["queue"]["waiting"], fourth["queue"]["ahead"]) == (2, 1)
    assert fourth["queue"]["next_in_line"] == ["third"]
    assert fourth["queue"]["expected_wait_seconds"] == pytest.approx(120, abs=1)  # one in a minute, as little says
    assert fourth["standing"][1] == "Before it: third."
    for answer in (first, second, fourth):
        assert "ann@" not in json.dumps(answer)
        assert answer["notes"] == []


async def _is_sent(database: asyncpg.Connection, order_id: str) -> bool:
    return bool(await database.fetchval("SELECT state FROM deliveries WHERE order_id = $1", order_id) == "sent")


async def test_an_order_that_is_not_known_or_not_the_only_one(
    settings: Settings, database: asyncpg.Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    log = [pending("ord-1", network=None), pending("ORD-2"), pending("both"), pending("both", currency="BTC")]
    await publish(settings, messages(*log))
    async with allocating(settings):
        await processed(settings, database, len(log))
    unknown = await asked(settings, capsys, "ord-1")
    assert (unknown["code"], unknown["known"]) == (1, False)
    assert "network_required" in unknown["refused"][0]["text"]
    spelt = await asked(settings, capsys, "ord-2")
    assert (spelt["code"], spelt["similar"][0]["order_id"]) == (1, "ORD-2")
    elsewhere = await asked(settings, capsys, "both", "ETH")
    assert [one["currency"] for one in elsewhere["similar"]] == ["BTC", "USDT"]
    with pytest.raises(WalletqError, match=r"BTC \(pending\), USDT \(pending\). Say which: --currency"):
        await why(settings, "both", None, as_json=True)
    assert (await asked(settings, capsys, "both", "BTC"))["currency"] == "BTC"


async def test_without_kafka_the_rest_is_told(settings: Settings, database: asyncpg.Connection, tmp_path: Path) -> None:
    log = [wallet(1), pending("ord-1"), status("ord-1", "paid")]
    await publish(settings, messages(*log))
    async with allocating(settings):
        await processed(settings, database, len(log))
    alone = settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
    ended = await CommandLine(alone, tmp_path).run("why", "ord-1")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0] == "Order ord-1 (USDT): paid"
    assert "time not known  paid [" in ended.out
    assert lines[-1].startswith("Note: Kafka at 127.0.0.1:1 cannot be reached")


@pytest.mark.usefixtures("settings")
async def test_an_answer_reads_few_rows_of_many(settings: Settings, database: asyncpg.Connection) -> None:
    await database.execute(
        "INSERT INTO orders (currency, order_id, status, network, amount, email, locale, expires_at, queue_place,"
        " pending_offset, pending_at) SELECT 'USDT', 'ord-' || n, 'pending', 'TRC-20', '10', 'a@example.com', 'en',"
        " now(), n, n, now() FROM generate_series(1, 1000) n"
    )
    await database.execute(
        "INSERT INTO orders (currency, order_id, status, network, ended_offset, ended_at)"
        " SELECT 'USDT', 'old-' || n, 'failed', 'TRC-20', n, now() FROM generate_series(1, 20000) n"
    )
    await database.execute(
        'INSERT INTO dead_letters (topic, partition, "offset", reason, message, record_at, value, value_length,'
        " value_sha256) SELECT $1, 3, n, 'no_wallet', '', now(), v, octet_length(v), ''"
        " FROM generate_series(1, 20000) n,"
        " convert_to(json_build_object('order_id', 'ord-' || n, 'currency', 'USDT')::text, 'UTF8') v",
        names(settings).orders,
    )
    await database.execute("ANALYZE")
    before = await _rows_read(database)
    facts = await read_facts(database, names(settings).orders, "USDT", "ord-500")
    assert facts.queue is not None
    assert (facts.queue.waiting, facts.queue.ahead, len(facts.refusals)) == (1_000, 499, 1)
    after = await _rows_read(database)
    assert after["dead_letters"] - before["dead_letters"] <= 2
    assert after["orders"] - before["orders"] == 0  # no scan of the table: the queue is counted in its index


async def _rows_read(database: asyncpg.Connection) -> dict[str, int]:
    """Rows that scans of whole tables have read, and of dead letters those by index, too."""
    await database.execute("SELECT pg_stat_force_next_flush()")
    rows = await database.fetch(
        "SELECT relname, seq_tup_read + CASE relname WHEN 'dead_letters' THEN idx_tup_fetch ELSE 0 END AS rows"
        " FROM pg_stat_user_tables WHERE relname IN ('orders', 'dead_letters')"
    )
    return {row["relname"]: row["rows"] for row in rows}


async def test_a_pool_has_a_pace(settings: Settings, database: asyncpg.Connection) -> None:
    topic = names(settings).orders
    await database.execute(
        "INSERT INTO partitions (topic, partition, partition_count, cluster_id) VALUES ($1, 3, 12, 'x')", topic
    )
    await database.execute(
        "INSERT INTO orders (currency, order_id, status, ended_offset, ended_at, pending_at) SELECT 'USDT', n::text,"
        " 'failed', n, now(), now() - interval '1 hour' * n / 10 - interval '90 s' FROM generate_series(1, 40) n"
    )
    # An order in six minutes, for four hours; each third had waited 90 seconds; all but the last five have ended.
    await database.execute(
        "INSERT INTO assignments (assignment_id, partition, assigned_offset, currency, network, address, order_id,"
        " waited, assigned_at, released_offset, released_at)"
        " SELECT gen_random_uuid(), 3, 1000 - n, 'USDT', 'TRC-20', n::text, n::text, n % 3 = 0,"
        " now() - interval '1 hour' * n / 10, CASE WHEN n > 5 THEN 2000 - n END,"
        " CASE WHEN n > 5 THEN now() - interval '1 hour' * (n - 5) / 10 END FROM generate_series(1, 40) n"
    )
    pace = (await read_paces(database, topic))["USDT", "TRC-20"]
    assert pace.seconds == pytest.approx(3_600, abs=1)
    assert (pace.assigned, pace.waited, pace.released) == (9, 3, 9)
    assert pace.wait_p50_seconds == pytest.approx(90, abs=1)
    assert pace.wait_p95_seconds == pytest.approx(90, abs=1)
