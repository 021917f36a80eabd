"""Dead letters that get a second chance: what is shown of them, what can be edited, what the rules would do."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.allocator.reading import Reader
from operations.dead_letters.edits import NEVER, Edit, edited, read_settings_of
from operations.dead_letters.forecast import Forecast, entry_of
from operations.dead_letters.letters import Letter, Place, Replay, read_place
from operations.dead_letters.masking import masked, masked_edit, masked_text, read_document
from operations.dead_letters.preparing import Prepared, Refused, prepared
from operations.dead_letters.showing import print_letter, print_list
from schemas.events import InvalidEvent, OrderStatusChanged, parse_event
from schemas.examples import EXAMPLES
from schemas.settings import SettingsError
from tests.reference import PARTITIONS, Record
from tests.traffic import as_records, catalogues, logs
from tests.traffic.messages import keyed
from tests.unit.memory import TOPIC, Memory, of

NOW = datetime(2026, 11, 22, 16, tzinfo=UTC)
PENDING: dict[str, Any] = EXAMPLES["order_status_changed"][0]


def letter(value: bytes | dict[str, Any] | None, reason: str = "unknown_network", topic: str = TOPIC) -> Letter:
    content = json.dumps(value).encode() if isinstance(value, dict) else value
    length = None if content is None else len(content)
    return Letter(3, 17, reason, "why", NOW, b"USDT", content, length, "digest", None, topic)


def replayed(event_id: str = "e", offset: int | None = 20) -> Replay:
    return Replay(
        event_id, "operator:kim", [], 3, 18, NOW, offset, None if offset is None else NOW, None, is_taken=False
    )


def ready(value: dict[str, Any], *sets: str, of: Sequence[Replay] = (), **terms: bool) -> Prepared:
    one = prepared(replace(letter(value), replays=of), read_settings_of(sets), TOPIC, **terms)
    assert isinstance(one, Prepared), one
    return one


def why_not(one: Letter, *sets: str, **terms: bool) -> str:
    refused = prepared(one, read_settings_of(sets), TOPIC, **terms)
    assert isinstance(refused, Refused)
    return refused.why


# What is shown


def test_of_a_person_only_the_domain_is_shown() -> None:
    shown = masked(PENDING | {"recipient": {"email": "Ann.Smith@EXAMPLE.com", "locale": "en", "name": "Ann"}})
    assert shown == PENDING | {"recipient": {"email": "…@example.com", "locale": "en", "name": "…"}}
    assert masked(PENDING | {"recipient": None})["recipient"] is None


PERSONAL: list[dict[str, Any]] = [
    *(
        PENDING | {"recipient": {"email": email}}
        for email in (
            '"ann smith"@example.com',
            "ann.smith(at)example.com",
            "ann%40example.com",
            "ann@example.com, ann@example.org",
            "Ann <ann@example.com>",
            ["ann@example.com"],
        )
    ),
    PENDING | {"recipient": {"email": "bob@example.com", "locale": "Ann Smith", "ann@example.com": 1}},
    PENDING | {"recipient": "Ann Smith, +44 555"},
    PENDING | {"recipient": [{"name": "Ann"}]},
    PENDING | {"customer": "Ann Smith"},
    PENDING | {"customer": {"order_id": "Ann Smith"}, "phone": 44555},
    PENDING | {"actor": {"name": "Ann Smith"}},
    PENDING | {"reason": "asked by <ann.smith@example.com>, then ann.smith (at) example.com"},
    PENDING | {"reason": '"ann smith"@example.com, ann\uff20example.com, ann%40example.com'},
    *(
        PENDING | {"order_id": order_id}
        for order_id in ("ann@example.com", "ann smith@example.com", "ann%40example.com", "ann[at]example.com")
    ),
]


@pytest.mark.parametrize("document", PERSONAL, ids=repr)
def test_nothing_personal_is_shown_listed_or_told_of_an_edit(
    document: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    row = {name: document.get(name) for name in ("status", "currency", "order_id")}
    row |= {"event": row.pop("status"), "message": "why", "reason": "unknown_network", "record_at": NOW, "replays": 0}
    names = [*document, "recipient.email", "recipient.locale", "recipient.name"]
    sets = [f"{name}=" for name in names if name not in NEVER]
    edits = edited(document, read_settings_of([*sets[-3:], *sets]))[1]
    one = replace(letter(document), replays=[replace(replayed(), edits=edits)])
    for as_json in (False, True):
        print_letter(one, as_json=as_json)
        print_list([row | {"topic": TOPIC, "partition": 3, "offset": 17}], 100, as_json=as_json)
    shown = capsys.readouterr().out
    assert "recipient" in shown
    for personal in ("ann", "smith", "555"):
        assert personal not in shown.casefold()


@given(st.recursive(st.text(max_size=8), lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=4), inner)))
def test_no_mailbox_survives_anywhere(content: Any) -> None:
    document = {"reason": f"{content} bob@example.com", "a@b": "c@d", "order_id": content, "recipient": content}
    shown = json.dumps(masked(document), ensure_ascii=False)
    assert "bob" not in shown
    assert "a@" not in shown
    assert "c@" not in shown


def test_what_cannot_be_written_is_shown_all_the_same() -> None:
    document = read_document(
        b'{"order_id": "\\udfff", "amount": NaN, "network": -Infinity, "status": 1e999, "a\\ud800": 1}'
    )
    shown = masked(document)
    assert shown == {"order_id": "?", "amount": "nan", "network": "-inf", "status": "inf", "a?": "…"}
    json.dumps(shown, ensure_ascii=False, allow_nan=False).encode()


@given(st.text())
def test_text_without_an_at_stays_as_it_is(text: str) -> None:
    without = re.sub("[@\uff20%\\[({]", "", text)
    assert masked_text(without) == without


@pytest.mark.parametrize("filling", ["a", '"', "@", "a@", '"@', "a ", "%40", " (at"])
def test_a_long_field_is_masked_at_once(filling: str) -> None:
    masked_text(filling * (200_000 // len(filling)))


@pytest.mark.parametrize(
    "value", [None, b"", b"\xff", b"{", b"[" * 100_000, b"9" * 10_000, b'{"a": "' + b'\\"' * 400_000]
)
def test_bytes_that_are_no_json_are_no_document(value: bytes | None) -> None:
    assert read_document(value) is None
    with pytest.raises(InvalidEvent):
        parse_event(value)


@pytest.mark.parametrize(("depth", "is_read"), [(499, True), (800, False), (100_000, False)])
def test_how_deep_a_value_may_be_nested_does_not_hang_on_the_stack(
    depth: int, is_read: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    value = json.dumps(PENDING | {"event_id": "@"}).replace('"@"', "[" * depth + "]" * depth).encode()
    one = letter(value)
    print_letter(one, as_json=False)
    assert ("nested too deeply" not in capsys.readouterr().out) == is_read
    if is_read:
        assert isinstance(prepared(one, read_settings_of(["network=ERC-20"]), TOPIC), Prepared)
    else:
        assert "nested too deeply" in why_not(one, "network=ERC-20")


def test_a_place_is_read_as_it_is_shown() -> None:
    assert read_place("order-status/3/17", TOPIC) == Place(TOPIC, 3, 17)
    assert read_place("3/17", TOPIC) == Place(TOPIC, 3, 17)
    assert read_place(str(Place("a.b-c_d", 0, 1)), TOPIC) == Place("a.b-c_d", 0, 1)
    for wrong in ("", "17", "order-status", "a/b/c", "x/3/-1", "3/17/"):
        with pytest.raises(SettingsError, match="expected TOPIC/PARTITION/OFFSET"):
            read_place(wrong, TOPIC)


# What can be edited


def test_fields_are_set_made_and_left_out_and_every_change_is_told() -> None:
    document = {"network": "TRC-21", "expires_at": "soon", "recipient": "ann", "amount": "10"}
    sets = ["network=TRC-20", "expires_at=", "recipient.locale=en", "amount=10", "reason=a=b"]
    found, edits = edited(document, read_settings_of(sets))
    assert found == {"network": "TRC-20", "recipient": {"locale": "en"}, "amount": "10", "reason": "a=b"}
    assert edits == [
        Edit("network", "TRC-21", "TRC-20"),
        Edit("expires_at", "soon", None),
        Edit("recipient.locale", None, "en"),
        Edit("reason", None, "a=b"),
    ]
    assert document["network"] == "TRC-21"


@pytest.mark.parametrize(
    ("before", "kept"),
    [({"email": 1}, '{"email": 1}'), (float("nan"), "NaN"), ("a\ud800\x00", "a\ufffd\ufffd"), ("x" * 300, "x" * 200)],
)
def test_whatever_a_field_was_the_database_can_keep_it(before: Any, kept: str) -> None:
    assert edited({"network": before}, read_settings_of(["network=TRC-20"]))[1][0].before == kept


def test_of_an_edited_recipient_nothing_personal_is_shown() -> None:
    assert masked_edit(Edit("recipient.email", "ann@a.example", "bob@b.example")).after == "…@b.example"
    assert masked_edit(Edit("recipient.locale", "en", None)) == Edit("recipient.locale", "en", None)
    assert masked_edit(Edit("recipient", "Ann", None)) == Edit("recipient", "…", None)


@pytest.mark.parametrize("wrong", ["network", "=x", "a..b=1", "event_id=1", "type=wallet_added", "a.=1"])
def test_what_cannot_be_set_is_bad_usage(wrong: str) -> None:
    with pytest.raises(SettingsError, match="--set"):
        read_settings_of([wrong])


# What can go out


def test_the_same_letter_and_edits_have_the_same_event_id_and_others_another() -> None:
    same = ready(PENDING, "network=BEP-20").event_id
    assert same == ready(PENDING, "network=BEP-20").event_id
    assert same == ready(PENDING, "network=BEP-20", of=[replayed(offset=None)]).event_id
    others = {
        ready(PENDING, "network=ERC-20").event_id,
        ready(PENDING).event_id,
        ready(PENDING, "network=BEP-20", of=[replayed()], again=True).event_id,
        PENDING["event_id"],
    }
    assert len(others - {same}) == 4


def test_an_event_is_as_it_was_but_for_the_edits_and_its_id() -> None:
    one = ready(PENDING, "network=ERC-20")
    assert isinstance(one.event, OrderStatusChanged)
    was = parse_event(json.dumps(PENDING).encode()).event
    assert replace(one.event, event_id=was.event_id, network="TRC-20") == was
    assert [(edit.path, edit.after) for edit in one.edits] == [("network", "ERC-20")]


def test_an_event_without_an_id_gets_one() -> None:
    without = {name: content for name, content in PENDING.items() if name != "event_id"}
    with pytest.raises(InvalidEvent):
        parse_event(json.dumps(without).encode())
    assert ready(without).event.event_id


def test_what_cannot_be_replayed_says_why() -> None:
    assert "no value" in why_not(letter(None))
    large = Letter(3, 17, "invalid_event", "", NOW, None, None, 300_000, "digest", None, TOPIC)
    assert "300,000 bytes" in why_not(large)
    assert "no JSON object" in why_not(letter(b"[]"))
    assert "is no event: amount" in why_not(letter(PENDING | {"amount": 1}))
    assert "with these edits either: amount" in why_not(letter(PENDING), "amount=ten")
    assert "--set mends it" in why_not(letter(PENDING, "storage_refused"))
    assert "replayed already: by operator:kim, as order-status/3/20" in why_not(
        replace(letter(PENDING), replays=[replayed()])
    )
    said = {"notification_id": "3c1a1aeb", "order_id": "x"}
    assert "deliveries retry 3c1a1aeb" in why_not(letter(said, "mail_refused", "wallet-notifications"))
    assert "find out who writes" in why_not(letter(said, "unknown_assignment", "wallet-notifications"))


def test_storage_refused_can_be_replayed_edited_or_by_force() -> None:
    refused = letter(PENDING, "storage_refused")
    for sets, force in ((["amount=11"], False), ([], True)):
        assert isinstance(prepared(refused, read_settings_of(sets), TOPIC, force=force), Prepared)


def test_only_what_was_begun_after_the_last_one_that_went_out_is_looked_for() -> None:
    begun = [replayed("a", None), replayed("b"), replayed("c", None), replayed("d", None)]
    assert [one.event_id for one in replace(letter(PENDING), replays=begun).unfinished] == ["c", "d"]
    assert [one.event_id for one in replace(letter(PENDING), replays=begun[:1]).unfinished] == ["a"]


# What would become of it


def forecast(memory: Memory, partition: int, waiting: dict[tuple[str, str], int], *entries: Any) -> Forecast:
    return Forecast(memory.gather(entries), memory.catalogue, TOPIC, partition, waiting)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_forecast_is_what_then_happens(data: st.DataObject) -> None:
    catalogue = data.draw(catalogues())
    records = data.draw(logs(catalogue))
    memory = of(catalogue)
    for record in records:
        try:
            event = parse_event(record.value).event
        except InvalidEvent:
            continue
        key = event.currency.encode()
        record = record._replace(key=key)
        reader = Reader(memory.catalogue, record.partition, PARTITIONS)
        entry = reader.read(_Fetched(record))
        waiting = {pool: len(memory.waiting(pool)) for pool in memory.catalogue.pools()}
        told = forecast(memory, record.partition, waiting, entry).of(entry)
        changes = memory.take(record.partition, [record])
        assert (told.verdict == "dead letter") == bool(changes.dead_letters)
        assert (told.verdict == "no effect") == bool(changes.counts.no_effect)
        if changes.assignments:
            assert changes.assignments[0].address in told.words
        if "waits as number" in told.words:
            pool = (event.currency, entry.network or "")
            assert f"number {len(memory.waiting(pool))} " in told.words


class _Fetched:
    headers = ()

    def __init__(self, record: Record) -> None:
        self.offset, self.timestamp = record.offset, record.timestamp_ms
        self.key, self.value = record.key, record.value


def test_what_comes_first_counts_for_what_comes_after_it() -> None:
    memory = of()
    partition = next(as_records([keyed(PENDING)])).partition
    reader = Reader(memory.catalogue, partition, PARTITIONS)
    paid = {"type": "order_status_changed", "event_id": "p", "currency": "USDT", "occurred_at": PENDING["occurred_at"]}
    added = EXAMPLES["wallet_added"][0]
    documents = [
        PENDING,
        PENDING | {"order_id": "second"},
        added,
        paid | {"order_id": PENDING["order_id"], "status": "paid"},
        paid | {"order_id": "second", "status": "paid"},
        PENDING | {"order_id": "third", "expires_at": "2026-11-22T15:59:00Z"},
        paid | {"order_id": PENDING["order_id"], "status": "completed"},
        paid | {"order_id": PENDING["order_id"], "status": "completed"},
        paid | {"order_id": "third", "status": "cancelled"},
        paid | {"order_id": "never", "status": "failed"},
        PENDING | {"order_id": "never"},
    ]
    events = [parse_event(json.dumps(document).encode()).event for document in documents]
    entries = [entry_of(event, reader, number, NOW) for number, event in enumerate(events)]
    told = forecast(memory, partition, {}, *entries)
    words = []
    for entry in entries:
        outcome = told.of(entry)
        words.append(outcome.words)
        if outcome.verdict != "dead letter":
            told.keep(entry)
    address, first = added["address"], PENDING["order_id"]
    assert words == [
        "the order waits as number 1 for a wallet of USDT/TRC-20",
        "the order waits as number 2 for a wallet of USDT/TRC-20",
        f"the wallet {address} goes to the order {first}, which waited longest",
        "the order becomes paid",
        "dead letter again: no_wallet: the order waits for a wallet, and cannot become paid",
        "the order waits as number 2 for a wallet of USDT/TRC-20"
        "; but it expired at 2026-11-22 15:59Z: --set expires_at= lets it begin anew",
        f"the order becomes completed, and its wallet {address} goes to the order second, which waited longest",
        "no effect: the order is completed already",
        "the order becomes cancelled, and leaves the queue",
        "the order is not known: it is remembered as failed, and gets nothing when it comes",
        "the order is failed already, and gets nothing",
    ]
