"""Dead letters from real consumers: every reason there is, listed, shown, and replayed or refused with a reason."""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from consumers.allocator.state import Reason
from consumers.mailer.notices import INVALID_EVENT, MAIL_REFUSED, UNKNOWN_ASSIGNMENT
from operations.dead_letters import commands
from operations.dead_letters.commands import Replaying, replay_letters, show_letter
from operations.dead_letters.edits import read_settings_of
from operations.dead_letters.letters import Wanted, find_places, find_rows, place_of
from operations.dead_letters.planning import Terms
from operations.dead_letters.replaying import ReplayUnderWay, hold_replaying
from operations.orders import SQL as OPERATIONS
from operations.verify import check
from producers.publisher import Publisher
from schemas.settings import Settings, SettingsError
from schemas.topics import HEADER_REPLAY_BY, HEADER_REPLAY_OF, PARTITIONS, names
from storage.database import connect
from storage.errors import ServerUnreachable
from tests.integration.allocator_world import (
    Document,
    allocating,
    messages,
    pending,
    processed,
    publish,
    status,
    wallet,
)
from tests.integration.commands import CommandLine
from tests.integration.mailer_world import MoodyServer, World, mailing, open_world, serving
from tests.servers.topics import consumed
from tests.servers.wait import until
from tests.traffic import Message, right_partition
from tests.traffic.messages import keyed

EMAIL = "ann.smith@example.com"
RECIPIENT = {"email": EMAIL, "locale": "en"}
VALID = wallet(2)["address"]


@dataclass(frozen=True)
class Case:
    """A record that is refused, and what an operator does about it."""

    reason: str
    message: Message
    sets: Sequence[str] = ()
    refused: str | None = None
    "Why it is not replayed; None: it is,"
    words: str = ""
    "with this to be expected."
    force: bool = False


def order(order_id: str, **fields: Any) -> Document:
    return pending(order_id, recipient=RECIPIENT, **fields)


def misplaced(document: Document, **fields: Any) -> Message:
    return keyed(document)._replace(**fields)


ELSEWHERE = (right_partition(b"USDT") + 1) % PARTITIONS
BEFORE = [wallet(1), order("known"), order("waits"), order("done"), status("done", "completed")]
"An order that holds the only wallet, one that waits, one that has ended."
AFTER = [order("late")]
"What comes after the refused events."

CASES = [
    Case("invalid_event", keyed(order("a", occurred_at=None)), ["occurred_at=2026-11-22T16:00:00Z"], words="waits as"),
    Case("invalid_event", keyed(order("b", amount=10)), refused="is no event: amount"),
    Case("invalid_event", keyed(order("c"))._replace(value=b"not JSON"), refused="is no JSON object"),
    Case("invalid_event", keyed(order("c"))._replace(value=None), refused="had no value"),
    Case("invalid_event", keyed(order("c") | {"network": "x" * 300_000}), refused="was left out"),
    Case(
        "unknown_currency",
        keyed(order("d", currency="USDX", network="TRC-20")),
        ["currency=USDT", "amount=10"],
        words="waits as number",
    ),
    Case("unknown_network", keyed(order("e", network="TRC-21")), ["network=TRC-20"], words="waits as number"),
    Case("network_required", keyed(order("f", network=None)), ["network=TRC-20"], words="waits as number"),
    Case("network_required", keyed(order("g", network=None)), refused="dead letter again: network_required"),
    Case("amount_out_of_range", keyed(order("h", amount="9")), ["amount=10"], words="waits as number"),
    Case(
        "invalid_address", keyed(wallet(2, address="T123")), [f"address={VALID}"], words=f"the wallet {VALID} goes to"
    ),
    Case("wrong_key", misplaced(order("i"), key=b"BTC"), words="waits as number"),
    Case("wrong_partition", misplaced(order("j"), partition=ELSEWHERE), words="waits as number"),
    Case("conflicting_order", keyed(order("waits", amount="11")), refused="dead letter again: conflicting_order"),
    Case("unknown_wallet", keyed(wallet(9, kind="wallet_retired")), refused="dead letter again: unknown_wallet"),
    Case("unknown_order", keyed(status("late", "paid")), refused="dead letter again: no_wallet"),
    Case("unknown_order", keyed(status("never", "paid")), refused="dead letter again: unknown_order"),
    Case("no_wallet", keyed(status("waits", "paid")), words="the order becomes paid"),
    Case("invalid_transition", keyed(status("done", "paid")), refused="the order is completed, and cannot become paid"),
    Case("storage_refused", keyed(order("poison")), words="waits as number", force=True),
    Case("storage_refused", keyed(order("poison")), refused="--set mends it"),
]


@pytest.fixture
def out(capsys: pytest.CaptureFixture[str]) -> "Output":
    return Output(capsys)


@dataclass(frozen=True)
class Output:
    """What a command prints as JSON."""

    capsys: pytest.CaptureFixture[str]

    def last(self) -> Any:
        """Of the last command."""
        return json.loads(self.capsys.readouterr().out.splitlines()[-1])


async def replay(
    settings: Settings, out: Output, *places: str, sets: Sequence[str] = (), wanted: Wanted | None = None, **terms: Any
) -> dict[str, Any]:
    """Replay as the command does; what it says."""
    dry_run = terms.pop("dry_run", False)
    wish = Replaying(
        places,
        wanted or Wanted(replayed=False),
        Terms(read_settings_of(sets), **terms),
        "operator:kim",
        dry_run=dry_run,
    )
    code = await replay_letters(settings, wish, as_json=True)
    said: dict[str, Any] = out.last() | {"code": code}
    return said


async def outcome(database: asyncpg.Connection, place: str) -> str | None:
    """The reason of the dead letter that the record at a place became; None: it was taken."""
    topic, partition, offset = place.rsplit("/", 2)
    at = (topic, int(partition), int(offset))

    async def is_taken() -> bool:
        return (await database.fetchval(OPERATIONS["place"], *at[:2]) or 0) > at[2]

    await until(is_taken, what=f"{place} to be applied")
    row = await database.fetchrow(OPERATIONS["refusal"], *at)
    return str(row["reason"]) if row else None


@pytest.fixture
async def refused(settings: Settings, database: asyncpg.Connection) -> AsyncIterator[list[str]]:
    """The cases have been refused, and the allocator goes on; the places of the records."""
    await database.execute("ALTER TABLE orders ADD CONSTRAINT no_poison CHECK (order_id <> 'poison')")
    log = [*messages(*BEFORE), *(case.message for case in CASES), *messages(*AFTER)]
    placed = await publish(settings, log)
    async with allocating(settings):
        await processed(settings, database, len(log))
        await database.execute("ALTER TABLE orders DROP CONSTRAINT no_poison")
        topic = names(settings).orders
        yield [f"{topic}/{one.partition}/{one.offset}" for one in placed[len(BEFORE) : len(log) - len(AFTER)]]


async def test_every_reason_of_the_allocator_is_listed_shown_and_replayed_or_refused(
    settings: Settings, database: asyncpg.Connection, refused: list[str], out: Output
) -> None:
    assert {case.reason for case in CASES} == set(Reason)
    await commands.list_letters(settings, Wanted(), as_json=True)
    listed = {row["place"]: row["reason"] for row in out.last()}
    assert listed == {place: case.reason for place, case in zip(refused, CASES, strict=True)}
    replayed = 0
    # What makes "waits" hold a wallet comes before its payment.
    for case, place in zip(CASES, refused, strict=True):
        await show_letter(settings, place, raw=False, as_json=True)
        shown = out.last()
        assert (shown["reason"], shown["headers"]["__walletq.errors.reason"]) == (case.reason, case.reason)
        assert "ann.smith" not in json.dumps(shown)
        expected = await replay(settings, out, place, sets=case.sets, force=case.force, dry_run=True)
        said = await replay(settings, out, place, sets=case.sets, force=case.force)
        if case.refused is not None:
            assert said["code"] == expected["code"] == 1
            assert case.refused in said["refused"][place]
            assert said["refused"] == expected["refused"]
            continue
        assert said["code"] == expected["code"] == 0, said
        (one,) = said["replayed"]
        assert one["words"] == expected["replayed"][0]["words"]
        assert case.words in one["words"]
        assert await outcome(database, one["place"]) is None
        replayed += 1
    assert await database.fetchval("SELECT count(*) FROM dead_letters") == len(CASES)
    assert await database.fetchval("SELECT count(*) FROM dead_letter_replays") == replayed
    rows = await database.fetch("SELECT order_id, status, network FROM orders WHERE order_id <> ALL ($1)", ["done"])
    assert {row["order_id"] for row in rows} == {*"adefhij", "known", "waits", "late", "poison"}
    assert {row["network"] for row in rows} == {"TRC-20"}
    assert [finding.as_text() for finding in await check(settings) if finding.result == "violated"] == []


async def test_every_reason_of_the_mailer_is_shown_and_refused_with_what_to_do(
    settings: Settings, database: asyncpg.Connection, out: Output
) -> None:
    server = MoodyServer(rcpt=["550 no such user"])
    async with serving(server), open_world(settings, database) as world:
        refusing = settings.model_copy(update={"smtp_url": SecretStr(server.url)})
        async with mailing(refusing):
            said = await world.assigned("ord-1")
            await world.until(said, "failed")
            await world.publish_bytes(b"{}", b"ord-1")
            await world.publish(said.model_copy(update={"order_id": "ord-2"}))
            await world.dead_letters(3)
    assert await refusals_of(world, out) == {
        INVALID_EVENT: "find out who writes",
        UNKNOWN_ASSIGNMENT: "find out who writes",
        MAIL_REFUSED: f"deliveries retry {said.notification_id}",
    }


async def refusals_of(world: World, out: Output) -> dict[str, str]:
    """Why each of the mailer's dead letters is not replayed; what matters of it."""
    await commands.list_letters(world.settings, Wanted(topic=world.topic), as_json=True)
    found = {}
    for row in out.last():
        said = await replay(world.settings, out, row["place"])
        assert said["code"] == 1
        (why,) = said["refused"].values()
        known = [
            part for part in ("find out who writes", why.partition("`walletq ")[2].partition("`")[0]) if part in why
        ]
        found[row["reason"]] = known[0]
    return found


async def test_a_replayed_event_is_linked_to_what_was_refused_and_the_edit_is_on_record(
    settings: Settings, database: asyncpg.Connection, out: Output
) -> None:
    placed = await publish(settings, messages(order("ord-1", network=None)))
    topic = names(settings).orders
    async with allocating(settings):
        await processed(settings, database, 1)
        place = f"{topic}/{placed[0].partition}/0"
        said = await replay(settings, out, place, sets=["network=TRC-20", "recipient.email=bob@example.com"])
        await processed(settings, database, 2)
    (record,) = [one for one in await consumed(settings, topic, PARTITIONS) if one.offset == 1]
    assert dict(record.headers) == {HEADER_REPLAY_OF: place.encode(), HEADER_REPLAY_BY: b"operator:kim"}
    event = json.loads(record.value)
    assert (event["network"], record.key) == ("TRC-20", b"USDT")
    assert event["event_id"] == said["replayed"][0]["event_id"] != order("ord-1")["event_id"]
    row = await database.fetchrow("SELECT * FROM dead_letter_replays")
    assert (row["event_id"], row["actor"], row["published_offset"]) == (event["event_id"], "operator:kim", 1)
    assert json.loads(row["edits"])[0] == {"path": "network", "before": None, "after": "TRC-20"}
    await show_letter(settings, place, raw=False, as_json=True)
    shown = out.last()
    assert shown["replays"][0]["place"] == f"{topic}/{placed[0].partition}/1"
    assert shown["replays"][0]["became"] == "taken"
    assert "bob" not in json.dumps(shown)
    again = await replay(settings, out, place, sets=["network=ERC-20"])
    assert "is replayed already" in again["refused"][place]
    assert (await replay(settings, out, place, sets=["network=ERC-20"], again=True))["code"] == 1  # conflicting_order


class Crash(Exception):
    """The process ends here."""


@pytest.mark.parametrize("went_out", [True, False])
async def test_after_a_crash_the_same_command_finds_out_whether_the_event_went_out(
    settings: Settings,
    database: asyncpg.Connection,
    out: Output,
    monkeypatch: pytest.MonkeyPatch,
    went_out: bool,
) -> None:
    placed = await publish(settings, messages(order("ord-1", network=None)))
    topic = names(settings).orders
    place = f"{topic}/{placed[0].partition}/0"
    publish_one = Publisher.publish

    async def publish_and_crash(self: Publisher, *args: Any, **options: Any) -> Any:
        if went_out:
            await publish_one(self, *args, **options)
        raise Crash

    async with allocating(settings):
        await processed(settings, database, 1)
        with monkeypatch.context() as patched:
            patched.setattr(Publisher, "publish", publish_and_crash)
            with pytest.raises(Crash):
                await replay(settings, out, place, sets=["network=TRC-20"])
        row = await database.fetchrow("SELECT event_id, published_offset FROM dead_letter_replays")
        assert row["published_offset"] is None
        said = await replay(settings, out, place, sets=["network=TRC-20"])
        await processed(settings, database, 2)
    assert said["code"] == (1 if went_out else 0)
    assert ("is replayed already" in said["refused"].get(place, "")) == went_out
    events = [json.loads(one.value)["event_id"] for one in await consumed(settings, topic, PARTITIONS)]
    assert events[1:] == [row["event_id"]]
    noted = await database.fetch("SELECT event_id, published_offset FROM dead_letter_replays")
    assert [tuple(one) for one in noted] == [(row["event_id"], 1)]


async def test_many_go_out_in_the_order_of_the_log_and_what_is_replayed_is_found_no_more(
    settings: Settings, database: asyncpg.Connection, out: Output
) -> None:
    await publish(settings, [misplaced(order(f"ord-{number}"), key=b"BTC") for number in range(20)])
    async with allocating(settings):
        await processed(settings, database, 20)
        wanted = Wanted(reasons=["wrong_key"], currency="USDT", replayed=False, limit=50)
        asked: list[str] = []

        def no(question: str) -> bool:
            asked.append(question)
            return False

        wish = Replaying([], wanted, Terms(), "kim", confirm=no)
        assert await replay_letters(settings, wish, as_json=True) == 1
        assert asked[0].endswith("Replay 20 dead letters?")
        assert out.last()["replayed"] == []
        for first, count, notes in ((1, 15, ["5 more match, later in the log: --limit takes more"]), (16, 5, [])):
            said = await replay(settings, out, wanted=replace(wanted, limit=15))
            numbers = [int(one["words"].split()[5]) for one in said["replayed"]]
            assert (numbers, said["notes"]) == ([*range(first, first + count)], notes)
            await processed(settings, database, 20 + first - 1 + count)
        assert (await replay(settings, out, wanted=wanted))["code"] == 1
    rows = await database.fetch("SELECT order_id FROM orders ORDER BY queue_place")
    assert [row["order_id"] for row in rows] == [f"ord-{number}" for number in range(20)]


async def test_the_newest_are_listed_first_and_the_log_is_replayed_in_its_own_order(
    database: asyncpg.Connection,
) -> None:
    # In partition 0 the clock has gone back.
    await database.execute(
        'INSERT INTO dead_letters (topic, partition, "offset", reason, message, record_at)'
        " SELECT 'orders', partition, number, 'no_wallet', '', now() - make_interval(mins => ago)"
        " FROM (VALUES (0, 1, 10), (0, 2, 40), (0, 3, 5), (1, 1, 30)) AS v (partition, number, ago)"
    )
    listed = [place_of(row)[1:] for row in await find_rows(database, Wanted(limit=3))]
    assert listed == [(0, 3), (0, 1), (1, 1)]
    places, more = await find_places(database, Wanted(limit=3))
    assert ([place[1:] for place in places], more) == ([(1, 1), (0, 1), (0, 2)], 1)


async def test_an_edit_is_refused_where_an_order_has_several_dead_letters(
    settings: Settings, database: asyncpg.Connection, out: Output
) -> None:
    await publish(settings, messages(*(order("ord-1", network=None) for _ in range(2))))
    async with allocating(settings):
        await processed(settings, database, 2)
        for limit in (1, 100):
            wanted = Wanted(order_id="ord-1", replayed=False, limit=limit)
            with pytest.raises(SettingsError, match="--set edits one dead letter, and these are 2: name the place"):
                await replay(settings, out, sets=["network=TRC-20"], wanted=wanted, dry_run=True)


@pytest.mark.usefixtures("database")
async def test_two_do_not_replay_at_the_same_time(settings: Settings, out: Output) -> None:
    other = await connect(settings.need_database(), "walletq_operator")
    try:
        await hold_replaying(other)
        with pytest.raises(ReplayUnderWay):
            await replay(settings, out, "3/17")
        assert (await replay(settings, out, "3/17", dry_run=True))["code"] == 1
    finally:
        other.terminate()


async def test_a_dry_run_needs_no_kafka_and_writes_nothing(
    settings: Settings, database: asyncpg.Connection, out: Output
) -> None:
    placed = await publish(settings, messages(wallet(1), order("ord-1", network=None)))
    async with allocating(settings):
        await processed(settings, database, 2)
    alone = settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
    place = f"{names(settings).orders}/{placed[1].partition}/{placed[1].offset}"
    said = await replay(alone, out, place, sets=["network=TRC-20"], dry_run=True)
    assert said["replayed"][0]["words"] == f"the order gets the wallet {wallet(1)['address']} of USDT/TRC-20 at once"
    with pytest.raises(ServerUnreachable):
        await replay(alone, out, place, sets=["network=TRC-20"])
    assert await database.fetchval("SELECT count(*) FROM dead_letter_replays") == 0


@pytest.mark.usefixtures("database")
async def test_an_operator_cannot_rewrite_what_is_on_record(settings: Settings) -> None:
    operator = await connect(settings.need_database(), "walletq_operator")
    columns = ("event_id", "actor", "edits", "topic", "begun_at", "log_end")
    try:
        for statement in (
            "DELETE FROM dead_letter_replays",
            *(f"UPDATE dead_letter_replays SET {column} = {column}" for column in columns),
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await operator.execute(statement)
    finally:
        operator.terminate()


async def test_whatever_a_value_holds_its_fields_can_be_asked_for(database: asyncpg.Connection) -> None:
    deep = b'{"order_id":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    values = [
        b"",
        b"\xff",
        b"[1]",
        b'"x"',
        deep,
        b'{"order_id":"a\\u0000"}',
        b'{"order_id":"\\ud800"}',
        b'{"order_id":null}',
    ]
    for value in values[:5]:
        found = await database.fetchval("SELECT field_of($1, 'order_id')", value)
        assert found is None or len(found) == 65
    for value in values[5:]:
        assert await database.fetchval("SELECT field_of($1, 'order_id')", value) is None
    long = json.dumps({"order_id": "й" * 200_000}).encode()
    assert await database.fetchval("SELECT field_of($1, 'order_id')", long) == "й" * 65


# As an operator runs it


async def test_the_commands(settings: Settings, database: asyncpg.Connection, tmp_path: Path) -> None:
    walletq = CommandLine(settings, tmp_path)
    placed = await publish(settings, messages(order("ord-1", network=None), order("ord-2", network="TRC-21")))
    place = f"{placed[0].partition}/0"
    async with allocating(settings):
        await processed(settings, database, 2)
        listed = await walletq.run("dead-letters", "list", "--order", "ord-1")
        assert (listed.code, "1 dead letters" in listed.out, "network_required" in listed.out) == (0, True, True)
        shown = await walletq.run("dead-letters", "show", place)
        assert shown.code == 0
        assert "…@example.com" in shown.out
        raw = await walletq.run("dead-letters", "show", place, "--raw")
        assert json.loads(raw.out)["recipient"]["email"] == EMAIL
        unsure = await walletq.run("dead-letters", "replay", "--currency", "USDT")
        assert unsure.code == 2
        assert "--yes" in unsure.err
        edit = ("--set", "network=TRC-20", "--yes")
        for many in (["--currency", "USDT"], ["--reason", "network_required"], [place, f"{placed[1].partition}/1"]):
            refused = await walletq.run("dead-letters", "replay", *many, *edit)
            assert refused.code == 2
            assert "--set edits one dead letter" in refused.err
        replayed = await walletq.run("dead-letters", "replay", place, *edit)
        await processed(settings, database, 3)
        by_order = await walletq.run("dead-letters", "replay", "--order", "ord-2", *edit)
        topic = names(settings).orders
        assert (replayed.code, replayed.err, replayed.out) == (
            0,
            "",
            f"{topic}/{place}: replayed as {topic}/{placed[0].partition}/2: the order waits as number 1"
            " for a wallet of USDT/TRC-20 (network nothing → TRC-20)\n",
        )
        assert (by_order.code, by_order.out) == (
            0,
            f"{topic}/{placed[1].partition}/1: replayed as {topic}/{placed[0].partition}/3: the order waits as number 2"
            " for a wallet of USDT/TRC-20 (network TRC-21 → TRC-20)\n",
        )
    for printed in (listed, shown, replayed, by_order):
        assert "ann.smith" not in printed.out
