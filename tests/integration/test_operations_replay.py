"""`walletq replay` on what real allocators have made of hostile traffic: it agrees, and finds whatever is changed."""

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from pydantic import SecretStr

from consumers.allocator.state import KeptDeadLetter
from consumers.dead_letters import dead_letter_headers
from operations.replay.audit import audit, catch_up
from operations.replay.command import compare_with_database, rebuild_database, try_other_rules
from operations.replay.inputs import CatalogueUnreadable
from operations.replay.rebuild import NotEmpty
from operations.replay.replaying import Scope
from operations.verify import until_drained, verify
from schemas.settings import Settings, SettingsError
from schemas.topics import names, topics
from storage.kafka import admin_client, client_options
from storage.times import read_any_time
from storage.topics import create_topics
from tests.integration.allocator_world import (
    allocating,
    messages,
    pending,
    publish,
    transactions,
    wallet,
)
from tests.integration.commands import CommandLine
from tests.integration.replay_world import (
    audit_in_a_transaction,
    audited,
    content,
    empty,
    looking,
    replaying,
    told,
    under,
)
from tests.integration.test_operations_verify import copied
from tests.servers.databases import Databases
from tests.servers.embedded import run_alone
from tests.servers.servers import Servers
from tests.traffic import hostile, right_partition

USDT, BTC = right_partition(b"USDT"), right_partition(b"BTC")

# Two orders hold each other's wallet, and every table says so.
SWAP = """
    DROP INDEX order_holds_one_wallet;
    DROP INDEX wallet_has_one_open_assignment;
    CREATE TEMPORARY TABLE swap AS
        SELECT a.currency, a.order_id, a.assigned_offset, b.address
        FROM wallets a JOIN wallets b ON b.currency = a.currency AND b.network = a.network AND b.order_id <> a.order_id
        WHERE a.order_id IN ('first', 'second') AND b.order_id IN ('first', 'second');
    UPDATE orders o SET address = s.address FROM swap s WHERE (o.currency, o.order_id) = (s.currency, s.order_id);
    UPDATE assignments a SET address = s.address FROM swap s
        WHERE (a.currency, a.order_id) = (s.currency, s.order_id);
    UPDATE wallets w SET order_id = s.order_id, assigned_offset = s.assigned_offset FROM swap s
        WHERE (w.currency, w.address) = (s.currency, s.address);
"""

# What is changed by hand: the table that differs, what is said of it, the change.
CHANGED = [
    ("orders", "amount: replay says 250.00, the database has 251", "UPDATE orders SET amount = '251' {first}"),
    ("orders", "USDT/first: email differs", "UPDATE orders SET email = 'bob@example.com' {first}"),
    ("orders", "expires_at: replay says", "UPDATE orders SET expires_at = '294275-12-31 00:00Z' {first}"),
    ("orders", "USDT/first: replay has it", "DELETE FROM orders {first}"),
    (
        "orders",
        "USDT/ghost: the database has it",
        "INSERT INTO orders (currency, order_id, status, ended_offset, ended_at)"
        " VALUES ('USDT', 'ghost', 'failed', 1, now())",
    ),
    ("partitions", "applied: replay says", "UPDATE partitions SET applied = applied + 1, no_effect = no_effect - 1"),
    ("partitions", "early_finals: replay says", "UPDATE partitions SET early_finals = early_finals + 1"),
    ("assignments", "replay has it, the database does not", "DELETE FROM assignments {first}"),
    ("assignments", "released_at: replay says", "UPDATE assignments SET released_at = released_at + interval '1 s'"),
    ("wallets", "order_id: replay says", SWAP),
    ("wallets", "free_place: replay says", "UPDATE wallets SET free_place = free_place + 1000000"),
    ("dead_letters", "message: replay says", "UPDATE dead_letters SET message = 'another' {invalid}"),
    ("dead_letters", "reason: replay says", "UPDATE dead_letters SET reason = 'unknown_order' {invalid}"),
    (
        "dead_letters",
        "value differs",
        "UPDATE dead_letters SET value = repeat('x', value_length::int)::bytea {invalid}",
    ),
    ("dead_letters", "replay has it", "DELETE FROM dead_letters {invalid}"),
]
WHERE = {
    "first": "WHERE order_id = 'first'",
    "invalid": 'WHERE "offset" = (SELECT min("offset") FROM dead_letters'
    " WHERE reason = 'invalid_event' AND value IS NOT NULL AND topic LIKE '%order-status')",
}


async def test_database_that_allocators_made_of_hostile_traffic_agrees(world: Settings) -> None:
    found = await audited(world)
    assert found.agrees, told(found)
    rows = {compared.table.name: compared.stored for compared in found.tables}
    assert min(rows.values()) > 5, rows
    assert sum(map(len, found.inputs.refused.values())) == 1
    assert len(found.inputs.catalogues[USDT]) == 2
    async with looking(world) as database:
        assert await database.fetchval("SELECT count(*) FROM wallets WHERE status = 'cooling'") > 0
        counted = await database.fetchval(
            "SELECT sum(applied + no_effect + dead_letters) FROM partitions WHERE topic = $1", names(world).orders
        )
        behind = await database.fetchval(
            "SELECT sum(next_offset) FROM partitions WHERE topic = $1", names(world).orders
        )
    assert found.records == counted < behind, "an aborted record and markers are no records"


async def test_what_was_changed_by_hand_is_found(world: Settings, servers: Servers) -> None:
    async with copied(world, servers) as (settings, database), replaying(settings) as replay:
        await catch_up(settings, replay)
        await read_any_time(database)
        for table, said, change in CHANGED:
            undone = database.transaction()
            await undone.start()
            await database.execute(change.format(**WHERE))
            found = await audit(replay, database)
            await undone.rollback()
            assert said in " ".join(told(found)[table]), (change, told(found))
            assert "bob@" not in str(told(found))
        assert (await audit_in_a_transaction(replay, database)).agrees


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DELETE FROM catalogues", "is not recorded"),
        ("UPDATE catalogues SET content = replace(content, '90', '91')", "another digest"),
    ],
)
async def test_recorded_catalogue_that_was_tampered_with_is_refused(
    world: Settings, servers: Servers, change: str, said: str
) -> None:
    async with copied(world, servers) as (settings, database):
        await database.execute(change)
        with pytest.raises(CatalogueUnreadable, match=said):
            await audited(settings)


async def test_only_the_partitions_that_are_asked_for_are_compared(world: Settings, servers: Servers) -> None:
    async with copied(world, servers) as (settings, database):
        await database.execute("UPDATE orders SET amount = '251' WHERE order_id = 'first'")
        whole, others = await audited(settings), await audited(settings, Scope(frozenset({BTC})))
    assert (whole.agrees, others.agrees) == (False, True)
    assert 0 < others.records < whole.records


async def test_range_compares_what_happened_in_it(world: Settings, servers: Servers) -> None:
    async with copied(world, servers) as (settings, database):
        offsets = await database.fetch(
            "SELECT assigned_offset, released_offset FROM assignments WHERE partition = $1 AND released_offset IS NOT"
            " NULL ORDER BY assigned_offset LIMIT 1",
            USDT,
        )
        began, ended = offsets[0]
        only = frozenset({USDT})
        for cut in (began, began + 1, ended, ended + 1):
            assert (await audited(settings, Scope(only, 0, cut))).agrees, cut
        await database.execute("UPDATE assignments SET waited = NOT waited WHERE assigned_offset = $1", began)
        assert not (await audited(settings, Scope(only, began, began + 1))).agrees
        assert (await audited(settings, Scope(only, 0, began))).agrees
        assert (await audited(settings, Scope(only, ended + 1))).agrees


# Other rules


async def test_shadow_says_what_another_catalogue_would_change(
    world: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    smaller = under(world, tmp_path, ("5000", "249")).catalogue
    assert await try_other_rules(world, Scope(), smaller, None, as_json=True) == 1
    document = json.loads(capsys.readouterr().out)
    changes = {change["what"]: change["rows"] for change in document["changes"]}
    assert changes["more dead letters amount_out_of_range"] > 0
    assert changes["assignments would not be made"] > 0
    assert await try_other_rules(world, Scope(frozenset({BTC})), smaller, None, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["changes"] == []


async def test_shadow_says_what_other_rules_would_change(
    world: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "without_finals.py").write_text(
        "from consumers.allocator.decide import decide as shipped\n"
        "def decide(state, entries, catalogue, topic, partition):\n"
        "    kept = [e for e in entries if getattr(e.event, 'status', None) != 'completed']\n"
        "    return shipped(state, kept, catalogue, topic, partition)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    scope = Scope(frozenset({BTC}))
    assert await try_other_rules(world, scope, None, "without_finals:decide", as_json=False) == 1
    shown = capsys.readouterr().out
    assert "orders would have another status" in shown
    assert "status: would be " in shown
    assert "something would change" in shown
    assert await try_other_rules(world, scope, None, "consumers.allocator.decide:decide", as_json=False) == 0
    assert "nothing would change" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("body", "said"),
    [("raise KeyError('odd')", "raised KeyError: 'odd', at "), ("return None", "returned NoneType")],
)
async def test_rules_that_do_not_work_are_said_to_be_so(
    world: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, said: str
) -> None:
    name = f"broken_{uuid.uuid4().hex}"
    (tmp_path / f"{name}.py").write_text(f"def decide(*batch):\n    {body}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingsError, match=f"--rules: {name}:decide {said}"):
        await try_other_rules(world, Scope(), None, f"{name}:decide", as_json=True)


# A new database


async def test_rebuilt_database_equals_the_one_that_allocators_made(
    world: Settings, databases: Databases, tmp_path: Path
) -> None:
    inputs = tmp_path / "inputs.json"
    assert await compare_with_database(world, Scope(), inputs, as_json=True) == 0
    async with empty(world, databases) as rebuilt:
        assert await rebuild_database(rebuilt, inputs, as_json=True) == 0
        found = await audited(rebuilt)
        assert found.agrees, told(found)
        assert await content(rebuilt) == await content(world)
        with pytest.raises(NotEmpty, match=r"not empty \(partitions has 12 rows, catalogues has "):
            await rebuild_database(rebuilt, inputs, as_json=True)


async def test_refused_records_are_known_from_their_dead_letters_without_inputs(
    world: Settings, databases: Databases, catalogues_only: Path
) -> None:
    async with empty(world, databases) as rebuilt:
        assert await rebuild_database(rebuilt, catalogues_only, as_json=False) == 0
        found = await audited(rebuilt)
    assert found.agrees, told(found)
    assert [message for refused in found.inputs.refused.values() for message in refused.values()]


async def test_rebuild_under_another_catalogue_is_contradicted_by_what_was_published(
    world: Settings, databases: Databases, capsys: pytest.CaptureFixture[str]
) -> None:
    async with empty(world, databases) as rebuilt:
        assert await rebuild_database(rebuilt, None, as_json=False) == 1
    shown = capsys.readouterr().out
    assert "the configured catalogue" in shown
    assert "notifications on the topic say otherwise:\n  " in shown
    assert shown.splitlines()[-1].startswith("do not use this database")


async def test_dead_letter_of_another_record_does_not_decide_a_rebuild(
    world: Settings, databases: Databases, catalogues_only: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Anybody may write to the topic: what says that the database refused the first record is not of that record."""
    topic = names(world).orders
    forged = dead_letter_headers(
        topic,
        USDT,
        KeptDeadLetter(0, "storage_refused", "forged", datetime.now(UTC), None, b"{}", 2, None, None),
    )
    producer = AIOKafkaProducer(**client_options(world))
    async with producer:
        await producer.send_and_wait(names(world).dead_letters(topic), b"{}", headers=forged)
    async with empty(world, databases) as rebuilt:
        assert await rebuild_database(rebuilt, catalogues_only, as_json=False) == 0
        assert "1 records have dead letters with other bytes" in capsys.readouterr().out
        assert (await audited(rebuilt)).agrees


# The command


async def test_command_says_what_it_compared_and_its_exit_code_is_the_answer(
    world: Settings, servers: Servers, tmp_path: Path
) -> None:
    async with copied(world, servers) as (settings, database):
        walletq = CommandLine(settings, tmp_path)
        agreeing = await walletq.run("replay")
        assert (agreeing.code, agreeing.err) == (0, ""), agreeing
        assert agreeing.out.splitlines()[-1] == "the database agrees with the log"
        assert "the database did not take" in agreeing.out
        await database.execute("UPDATE orders SET amount = '251' WHERE order_id = 'first'")
        differing = await walletq.run("replay", "--json", "--partition", str(USDT))
        assert (differing.code, differing.err) == (1, "")
        assert differing.json["agrees"] is False
        (orders,) = (table for table in differing.json["tables"] if table["table"] == "orders")
        assert (orders["differing"], orders["columns"]) == (1, {"amount": 1})


async def test_what_differs_is_shown_with_both_contents(
    world: Settings, servers: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    async with copied(world, servers) as (settings, database):
        await database.execute("UPDATE orders SET amount = '251' WHERE order_id = 'first'")
        assert await compare_with_database(settings, Scope(), None, as_json=False) == 1
        assert await verify(settings, drained=False, wait_seconds=None, as_json=False) == 1
    shown = capsys.readouterr().out
    assert "the database differs from the log" in shown
    assert "\n  orders USDT/first: amount: replay says 250.00, the database has 251\n" in shown
    assert "\nI5   violated     the database equals a replay of the log (" in shown
    assert "\n       orders USDT/first: amount: replay says 250.00, the database has 251\n" in shown


@pytest.fixture
async def catalogues_only(world: Settings, tmp_path: Path) -> Path:
    """The inputs of a rebuild without the records that the database has refused."""
    inputs = tmp_path / "inputs.json"
    assert await compare_with_database(world, Scope(), inputs, as_json=True) == 0
    document = json.loads(inputs.read_text())
    assert document.pop("refused")
    inputs.write_text(json.dumps(document | {"refused": []}))
    return inputs


@pytest.fixture(scope="module")
def world(servers: Servers, databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """What two allocators, the second one with a cool-down, have made of hostile traffic, once for all tests."""
    settings = Settings(
        kafka_bootstrap_servers=servers.kafka_bootstrap_servers,
        database_url=SecretStr(run_alone(databases.create())),
        topic_prefix=f"r{uuid.uuid4().hex[:12]}-",
        session_timeout_ms=6_000,
    )
    try:
        run_alone(_work(settings, tmp_path_factory.mktemp("catalogue")))
        yield settings
    finally:
        run_alone(_delete_topics(settings))
        run_alone(databases.drop(settings.need_database()))


async def _work(settings: Settings, folder: Path) -> None:
    await create_topics(settings)
    async with looking(settings) as database:
        # Something that the rules do not know of, so that a record is refused by the database alone.
        await database.execute("ALTER TABLE orders ADD CONSTRAINT no_refused CHECK (order_id <> 'refused')")
        async with allocating(settings):
            documents = [
                wallet(1),
                wallet(2),
                pending("first"),
                pending("second"),
                pending("refused"),
                pending("third"),
            ]
            await publish(settings, messages(*documents))
            await publish(settings, list(hostile(3, 600)))
            await _send_in_transactions(settings)
            assert await until_drained(settings, 30)
        async with allocating(under(settings, folder, ("cool_down_minutes = 0", "cool_down_minutes = 10"))):
            await publish(settings, list(hostile(4, 400)))
            assert await until_drained(settings, 30)
            cooling = await database.fetch("SELECT * FROM wallets WHERE status = 'cooling' ORDER BY assigned_offset")
            assert len(cooling) > 1
            row = cooling[0]
            cooled = {
                "type": "wallet_cooled",
                "event_id": "cooled",
                "assignment_id": str(row["cooling_assignment_id"]),
                "occurred_at": "2026-11-22T16:00:00Z",
                **{name: row[name] for name in ("currency", "network", "address")},
            }
            await publish(settings, messages(cooled))
            assert await until_drained(settings, 30)


async def _send_in_transactions(settings: Settings) -> None:
    (kept,), (aborted,) = messages(pending("in a transaction")), messages(pending("aborted"))
    topic = names(settings).orders
    async with transactions(settings, f"{settings.topic_prefix}upstream") as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, aborted.value, aborted.key, partition=aborted.partition)
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait(topic, kept.value, kept.key, partition=kept.partition)


async def _delete_topics(settings: Settings) -> None:
    async with admin_client(settings) as admin:
        await admin.delete_topics([topic.name for topic in topics(settings)])
