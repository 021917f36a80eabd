"""Records that are no good: each is one dead letter with its bytes, and the record behind it is processed."""

import json
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import asyncpg

from schemas.settings import Settings
from schemas.topics import (
    HEADER_MESSAGE,
    HEADER_OFFSET,
    HEADER_PARTITION,
    HEADER_REASON,
    HEADER_TIMESTAMP,
    HEADER_TOPIC,
    names,
)
from tests.integration.allocator_world import (
    Document,
    allocating,
    assert_as_the_rules_say,
    assert_verified,
    dead_letters,
    messages,
    pending,
    processed,
    publish,
    publish_raw_header,
    status,
    wallet,
)
from tests.traffic import Message, crc32_partition, misspelt, right_partition
from tests.traffic.messages import keyed

TRACEPARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OWNERS = {right_partition(currency.encode()): currency for currency in ("BTC", "ETH", "LTC", "USDT")}
GOOD = keyed(pending("never-there"))
TEXT = GOOD.value or b""


class Bad(NamedTuple):
    """A record, and why it is refused."""

    name: str
    message: Message
    reason: str = "invalid_event"


def value(content: bytes | None) -> Message:
    """A record with the key and the partition of USDT."""
    return GOOD._replace(value=content)


def raw(content: bytes, **fields: Any) -> Message:
    """A pending in which "@" stands for JSON that Python would not write."""
    return value(json.dumps(pending("never-there", **fields)).encode().replace(b'"@"', content))


def without(name: str, document: Document) -> Message:
    return keyed({other: content for other, content in document.items() if other != name})


BRACKETS = b"[" * 20_000 + b"]" * 20_000

VALUES = [
    Bad("empty value", value(b"")),
    Bad("null value", value(None)),
    Bad("null value and null key", value(None)._replace(key=None)),
    Bad("Latin-1", value(TEXT.replace(b"never", b"nev\xe9r"))),
    Bad("UTF-16", value(TEXT.decode().encode("utf-16"))),
    Bad("byte order mark", value(b"\xef\xbb\xbf" + TEXT)),
    Bad("lone surrogate in UTF-8", value(TEXT.replace(b"never", b"\xed\xa0\x80"))),
    Bad("cut off", value(TEXT[:-1])),
    Bad("two values", value(TEXT + TEXT)),
    Bad("plain text", value(b"hello")),
    Bad("NUL", value(b"\x00")),
    Bad("JSON null", value(b"null")),
    Bad("array of events", value(b"[" + TEXT + b"]")),
    Bad("20,000 brackets", value(BRACKETS)),
    Bad("20,000 opening brackets", value(b"[" * 20_000)),
    Bad("20,000 brackets in a field that nobody knows", raw(BRACKETS, unknown_to_us="@")),
    Bad("NaN in a field that nobody knows", raw(b"[NaN]", unknown_to_us="@")),
]
IDENTIFIERS = [
    Bad("NUL in the order id", keyed(pending("a\x00b"))),
    Bad("lone surrogate in the order id", keyed(pending("a\ud800b"))),
    Bad("line feed in the order id", keyed(pending("a\nb"))),
    Bad("empty order id", keyed(pending(""))),
    Bad("order id of 65 characters", keyed(pending("x" * 65))),
    Bad("order id that is a number", keyed(pending("x") | {"order_id": 7})),
    Bad("NUL in the event id", keyed(pending("never-there", event_id="\x00"))),
    Bad("lone surrogate in the currency", value(json.dumps(pending("never-there", currency="\ud800")).encode())),
    Bad("NUL in the network", keyed(pending("never-there", network="TRC\x0020"))),
    Bad("final status with NUL in the order id", keyed(status("a\x00b", "completed"))),
    Bad("final status with a lone surrogate in the order id", keyed(status("a\udfff", "completed"))),
    Bad(
        "CR and LF in the e-mail", keyed(pending("never-there", recipient={"email": "a@b.example\r\nBcc: e@b.example"}))
    ),
    Bad("recipient that is text", keyed(pending("never-there", recipient="ann@example.com"))),
]
AMOUNTS = [
    Bad("NaN", raw(b"NaN", amount="@")),
    Bad("Infinity", raw(b"-Infinity", amount="@")),
    Bad("1e999", raw(b"1e999", amount="@")),
    Bad("number of 400 digits", raw(b"9" * 400, amount="@")),
    Bad("number of 5,000 digits", raw(b"9" * 5_000, amount="@")),
    Bad("text NaN", keyed(pending("never-there", amount="NaN"))),
    Bad("text Infinity", keyed(pending("never-there", amount="Infinity"))),
    Bad("text of 400 digits", keyed(pending("never-there", amount="9" * 400))),
    Bad("exponent", keyed(pending("never-there", amount="1e3"))),
    Bad("negative", keyed(pending("never-there", amount="-250"))),
    Bad("float", keyed(pending("never-there", amount=250.5))),
    Bad("Arabic digits", keyed(pending("never-there", amount="\u0662\u0665\u0660"))),
    Bad("seven decimals of six", keyed(pending("never-there", amount="250.0000001"))),
    Bad("below the limit", keyed(pending("never-there", amount="9.999999")), "amount_out_of_range"),
    Bad("above the limit", keyed(pending("never-there", amount="5000.000001")), "amount_out_of_range"),
]
NAMES = [
    Bad("unknown type", keyed(pending("never-there", type="order_deleted"))),
    Bad("no type", without("type", pending("never-there"))),
    Bad("type of another topic", keyed(pending("never-there", type="wallet_assigned"))),
    Bad("unknown status", keyed(status("never-there", "expired"))),
    Bad("unknown currency", keyed(pending("never-there", "DOGE", network="dogecoin")), "unknown_currency"),
    Bad("final status of an unknown currency", keyed(status("never-there", "failed", "DOGE")), "unknown_currency"),
    Bad(
        "unknown currency with the key of a known one",
        value(json.dumps(pending("n", "DOGE")).encode()),
        "unknown_currency",
    ),
    Bad("unknown network", keyed(pending("never-there", network="TRC20")), "unknown_network"),
    Bad("network of another currency", keyed(pending("never-there", "BTC", network="TRC-20")), "unknown_network"),
    Bad("missing network", without("network", pending("never-there")), "network_required"),
    Bad("missing network of a wallet", without("network", wallet(1)), "network_required"),
    Bad(
        "misspelt address",
        keyed(wallet(1, address=misspelt(str(wallet(1)["address"]), random.Random(1)))),
        "invalid_address",
    ),
    Bad("address of another network", keyed(wallet(1, address=wallet(1, "BTC")["address"])), "invalid_address"),
]
PLACES = [
    Bad("null key", GOOD._replace(key=None), "wrong_key"),
    Bad("empty key", GOOD._replace(key=b""), "wrong_key"),
    Bad("key of another currency", GOOD._replace(key=b"BTC"), "wrong_key"),
    Bad("key in small letters", GOOD._replace(key=b"usdt"), "wrong_key"),
    Bad("key that is not UTF-8", GOOD._replace(key=b"\xff\x00"), "wrong_key"),
    *(
        Bad(
            f"{currency} where librdkafka puts it",
            keyed(pending("never-there", currency))._replace(partition=crc32_partition(currency.encode())),
            "wrong_partition",
        )
        for currency in OWNERS.values()
    ),
    Bad(
        "final status where librdkafka puts it",
        keyed(status("known", "completed"))._replace(partition=crc32_partition(b"USDT")),
        "wrong_partition",
    ),
]
# Where they stand: "known" waits, "ended" has ended.
ORDERS = [
    Bad("order repeated with another amount", keyed(pending("known", amount="250.01")), "conflicting_order"),
    Bad("order repeated with another network", keyed(pending("known", network="ERC-20")), "conflicting_order"),
    Bad("ended order repeated with another amount", keyed(pending("ended", amount="11")), "conflicting_order"),
    Bad("paid while it waits", keyed(status("known", "paid")), "no_wallet"),
    Bad("paid after its end", keyed(status("ended", "paid")), "invalid_transition"),
    Bad("ended in two ways", keyed(status("ended", "failed")), "invalid_transition"),
    Bad("paid and unknown", keyed(status("never-there", "paid")), "unknown_order"),
    Bad("unknown wallet", keyed(wallet(1, kind="wallet_retired")), "unknown_wallet"),
]
HEADERS = [
    Bad("trace", value(b"[]")._replace(headers=[("traceparent", TRACEPARENT)])),
    Bad("trace that is none", value(b"[]")._replace(headers=[("traceparent", b"\xff\x00"), ("traceparent", b"")])),
    Bad(
        "headers of any kind", value(b"[]")._replace(headers=[("", b""), ("\u00e9", b"\xff"), ("x" * 10_000, b"\x00")])
    ),
]
ALL = [*VALUES, *IDENTIFIERS, *AMOUNTS, *NAMES, *PLACES, *ORDERS, *HEADERS]
BEFORE = [pending("known"), pending("ended"), status("ended", "completed")]


async def test_every_bad_record_is_one_dead_letter_and_the_record_behind_it_is_processed(
    settings: Settings, database: asyncpg.Connection
) -> None:
    log = messages(*BEFORE)
    behind: dict[str, str] = {}
    for number, bad in enumerate(ALL):
        log.append(bad.message)
        if currency := OWNERS.get(bad.message.partition):
            behind[bad.name] = f"behind-{number}"
            log += messages(pending(f"behind-{number}", currency))
    async with allocating(settings):
        placed = await publish(settings, log)
        await processed(settings, database, len(log))

    places = {id(message): place for message, place in zip(log, placed, strict=True)}
    rows = {(row["partition"], row["offset"]): row for row in await database.fetch("SELECT * FROM dead_letters")}
    published = await dead_letters(settings)
    letters = {
        (header(letter.headers, HEADER_PARTITION), header(letter.headers, HEADER_OFFSET)): letter
        for letter in published
    }
    assert len(published) == len(rows) == len(ALL)
    waiting = "SELECT order_id FROM orders WHERE queue_place IS NOT NULL"
    orders = {row["order_id"] for row in await database.fetch(waiting)}
    for bad in ALL:
        where = places[id(bad.message)]
        row = rows[where.partition, where.offset]
        assert (row["reason"], row["key"], row["value"]) == (bad.reason, bad.message.key, bad.message.value), bad.name
        letter = letters[str(where.partition), str(where.offset)]
        assert (letter.key, letter.value) == (bad.message.key, bad.message.value), bad.name
        assert header(letter.headers, HEADER_REASON) == bad.reason, bad.name
        assert header(letter.headers, HEADER_MESSAGE) == row["message"] != "", bad.name
        assert header(letter.headers, HEADER_TOPIC) == names(settings).orders
        assert header(letter.headers, HEADER_TIMESTAMP) == str(where.timestamp), bad.name
        assert behind.get(bad.name, "known") in orders, bad.name
    traced = [content for letter in published for key, content in letter.headers if key == "traceparent"]
    assert traced == [TRACEPARENT]
    await assert_as_the_rules_say(settings, database)


async def test_no_personal_data_of_a_bad_record_is_in_its_message_or_a_header(
    settings: Settings, database: asyncpg.Connection
) -> None:
    secret = "ann.secret"
    log = messages(
        pending("ord-1", recipient={"email": f"{secret}@"}),
        pending("ord-1", recipient={"email": f"{secret}@example.com\r\n"}),
        pending("ord-1", recipient={"email": f"{secret}@example.com", "locale": f"{secret}@"}),
        pending("ord-1", recipient=f"{secret}@example.com"),
        pending("ord-1", amount=f"{secret}@example.com"),
        pending("ord-1", type=f"{secret}@example.com"),
    )
    async with allocating(settings):
        await publish(settings, log)
        await processed(settings, database, len(log))
    letters = await dead_letters(settings)
    assert len(letters) == len(log)
    assert not any(secret in str(letter.headers) for letter in letters)
    assert not any(secret in row["message"] for row in await database.fetch("SELECT message FROM dead_letters"))


async def test_a_release_is_never_refused_for_its_form(settings: Settings, database: asyncpg.Connection) -> None:
    sloppy: list[Document] = [
        {"amount": "@", "recipient": 7},
        {"expires_at": "soon", "reason": "\ud800", "event_id": []},
        {"occurred_at": "\x00", "network": {}, "actor": "x" * 201},
        {"unknown_to_us": "\udfff"},
    ]
    log = messages(wallet(1))
    for number, odd in enumerate(sloppy):
        ends = keyed(status(f"ord-{number}", "completed", **odd))
        log += [
            *messages(pending(f"ord-{number}")),
            ends._replace(value=(ends.value or b"").replace(b'"@"', b"9" * 5_000)),
        ]
    async with allocating(settings):
        await publish(settings, log)
        await processed(settings, database, len(log))
    assert await database.fetchval("SELECT count(*) FROM dead_letters") == 0
    assert await database.fetchval("SELECT count(*) FROM assignments WHERE released_offset IS NOT NULL") == len(sloppy)
    assert await database.fetchval("SELECT sum(dropped_fields) FROM partitions") == 8
    await assert_as_the_rules_say(settings, database)


async def test_a_header_whose_name_is_not_utf8_stops_nothing(settings: Settings, database: asyncpg.Connection) -> None:
    async with allocating(settings):
        await publish(settings, messages(wallet(1)))
        (assigns,) = messages(pending("ord-1"))
        await publish_raw_header(settings, assigns._replace(headers=[("traceparent", TRACEPARENT)]), b"\xff" * 20)
        await publish_raw_header(settings, value(b"[]")._replace(headers=[("traceparent", TRACEPARENT)]), b"\xff" * 20)
        await publish(settings, messages(pending("ord-2")))
        await processed(settings, database, 4)
        await assert_verified(settings)
    assert await database.fetchval("SELECT traceparent FROM orders WHERE order_id = 'ord-1'") == TRACEPARENT.decode()
    assert await database.fetchval("SELECT traceparent FROM dead_letters") == TRACEPARENT.decode()
    await assert_as_the_rules_say(settings, database)


def header(headers: Sequence[tuple[str, bytes]], name: str) -> str:
    """The one header of this name, as text."""
    (found,) = (content for key, content in headers if key == name)
    return found.decode()
