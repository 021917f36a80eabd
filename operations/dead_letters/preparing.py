"""From a dead letter to the event that may go out, or why none can: pure."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import NAMESPACE_URL, uuid5

from operations.dead_letters.edits import Edit, Setting, edited
from operations.dead_letters.letters import Letter
from operations.dead_letters.masking import read_document
from schemas.events import Event, InvalidEvent, encode_event, is_nested_too_deep, parse_event
from schemas.topics import MAX_KEPT_BYTES


@dataclass(frozen=True)
class Prepared:
    """An event that may take a dead letter's place."""

    letter: Letter
    event: Event
    edits: Sequence[Edit]

    @property
    def event_id(self) -> str:
        """Its id: the same from the same dead letter, with the same edits, as long as none of it has gone out."""
        assert self.event.event_id is not None
        return self.event.event_id


@dataclass(frozen=True)
class Refused:
    """A dead letter that is not replayed, and why."""

    letter: Letter
    why: str


def prepared(
    letter: Letter, settings: Sequence[Setting], orders_topic: str, *, again: bool = False, force: bool = False
) -> Prepared | Refused:
    """The event of a dead letter with the settings applied.

    Args:
        letter: with its replays as they are known now.
        settings: what is to be edited.
        orders_topic: the topic whose dead letters can be replayed.
        again: although it has been replayed.
        force: although the database has refused the same event.
    """
    if letter.topic != orders_topic:
        return Refused(letter, of_the_mailer(letter))
    if letter.value_length is None:
        return Refused(letter, "its record had no value: there is nothing to replay")
    if letter.value is None:
        length = f"{letter.value_length:,} bytes, more than the {MAX_KEPT_BYTES:,} that are kept"
        return Refused(letter, f"its value was left out ({length}); the record itself is at {letter.place}")
    if letter.published and not again:
        last = letter.published[-1]
        where = f"{letter.topic}/{last.target_partition}/{last.published_offset}"
        return Refused(letter, f"is replayed already: by {last.actor}, as {where}. --again does it once more")
    document = read_document(letter.value)
    if not isinstance(document, dict):
        what = "is nested too deeply" if is_nested_too_deep(letter.value) else "is no JSON object"
        return Refused(letter, f"{what}, so nothing in it can be set: `walletq publish` the event anew")
    document, edits = edited(document, settings)
    if letter.reason == "storage_refused" and not edits and not force:
        return Refused(
            letter,
            "the database did not take it, and would not again: --set mends it; --force where the database is mended",
        )
    document["event_id"] = "unknown yet"
    try:
        event = parse_event(json.dumps(document).encode()).event
        document["event_id"] = event_id(letter, event)
        return Prepared(letter, parse_event(json.dumps(document).encode()).event, edits)
    except InvalidEvent as error:
        return Refused(
            letter, f"is no event{' with these edits either' if edits else ''}: {error}. --set mends a field"
        )


def event_id(letter: Letter, event: Event) -> str:
    """The id of what is replayed: a uuid5 (RFC 9562) of the dead letter's place, how often it has gone out, and what
    the event says. So whoever tries the same again after a crash has the same id, and another event another one."""
    content = hashlib.sha256(encode_event(event)).hexdigest()
    return str(uuid5(NAMESPACE_URL, f"walletq:replay/{letter.place}/{len(letter.published)}/{content}"))


def of_the_mailer(letter: Letter) -> str:
    """What to do about a dead letter of the notifications, instead of a replay."""
    if letter.reason != "mail_refused":
        return "is a notification that the allocator did not send: find out who writes to that topic"
    document = read_document(letter.value)
    named = document.get("notification_id") if isinstance(document, dict) else None
    return f"is a mail that the server refused: `walletq deliveries retry {named or 'ID'}` sends it again"
