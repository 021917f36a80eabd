"""Dead letters and their replays as text and as JSON: nothing personal, and nothing that could steer a terminal."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from consumers.dead_letters import dead_letter_headers
from operations.dead_letters.edits import Edit
from operations.dead_letters.letters import Letter, Place, Replay, place_of
from operations.dead_letters.masking import masked, masked_edit, masked_name, masked_text, read_document
from operations.dead_letters.planning import Going, Plan
from operations.dead_letters.replaying import Done
from operations.terminal import Grid, as_text, print_json, print_lines, printable
from schemas.events import is_nested_too_deep
from storage.errors import WalletqError

SHOWN = 10
"So many are told of in a question; the others are counted."


def print_list(rows: Sequence[Mapping[str, Any]], limit: int, *, as_json: bool) -> None:
    """The rows of the statement `list`."""
    if as_json:
        print_json([_row(row) for row in rows])
        return
    more = ", and perhaps more" if len(rows) == limit else ""
    lines = [(f"{place_of(row)}  {row['record_at']:%Y-%m-%d %H:%M}Z", _line(row)) for row in rows]
    print_lines(f"{len(rows)} dead letters{more}", [], lines, [])


def _line(row: Mapping[str, Any]) -> str:
    """Why, what it is of which order, and whether it was replayed."""
    order = f" of {masked_name(row['order_id'])}" if row["order_id"] else ""
    currency = f" ({masked_name(row['currency'])})" if row["currency"] else ""
    what = masked_name(row["event"] or "") + order + currency
    times = f" {row['replays']} times" if row["replays"] > 1 else ""
    replays = f"; replayed{times}" if row["replays"] else ""
    return ": ".join(part for part in (row["reason"], what.strip(), masked_text(row["message"])) if part) + replays


def print_letter(letter: Letter, *, as_json: bool) -> None:
    """Everything about a dead letter but the persons in it."""
    shown = as_document(letter)
    if as_json:
        print_json(shown)
        return
    fields = ("reason", "message", "record_at", "key", "value_length", "value_sha256")
    rows = [(name, shown[name]) for name in fields] + list(shown["headers"].items())
    print(as_text(Grid(f"Dead letter {letter.place}", ("field", "value"), rows)))
    print("\nThe record:")
    if shown["value"] is not None:
        print(printable(json.dumps(shown["value"], indent=2, ensure_ascii=False)))
    elif letter.value is None:
        print("it was too large to keep" if letter.value_length is not None else "it has no value")
    else:
        what = "nested too deeply" if is_nested_too_deep(letter.value) else "not JSON"
        print(f"it is {what}: `--raw` writes its bytes")
    for replay in letter.replays:
        told = _replayed(letter, replay)
        edits = _changed(replay.edits)
        where = f"as {told['place']} " if told["place"] else ""
        print(f"\nReplayed {where}by {replay.actor} at {replay.begun_at:%Y-%m-%d %H:%M:%S}Z{edits}: {told['became']}")


def write_raw(letter: Letter) -> None:
    """The bytes of its value as they are; to a terminal without what could steer it.

    Raises:
        WalletqError: they were not kept.
    """
    if letter.value is None:
        raise WalletqError(f"the value of {letter.place} was not kept; the record itself is there in the log")
    if sys.stdout.isatty():
        print(printable(letter.value.decode(errors="replace")))
    else:
        sys.stdout.buffer.write(letter.value)


def question(what: Plan) -> str:
    """What the operator is asked to confirm."""
    lines = [f"{one.prepared.letter.place}: {masked_text(one.outcome.words)}" for one in what.going[:SHOWN]]
    if len(what.going) > SHOWN:
        lines.append(f"and {len(what.going) - SHOWN} more")
    if what.refused:
        lines.append(f"{len(what.refused)} others are not replayed")
    lines += [f"note: {note}" for note in what.notes]
    return printable("\n".join([*lines, f"Replay {len(what.going)} dead letters?"]))


def print_plan(what: Plan, done: Sequence[Done], unknown: Sequence[Place], *, dry_run: bool, as_json: bool) -> None:
    """What has gone out, or with `dry_run` would; and what not, and why."""
    at = {one.going.prepared.event_id: one.place for one in done}
    if as_json:
        going = what.going if dry_run else [one.going for one in done]
        print_json(
            {
                "dry_run": dry_run,
                "replayed": [_gone(one, at.get(one.prepared.event_id)) for one in going],
                "refused": {str(one.letter.place): masked_text(one.why) for one in what.refused}
                | {str(place): "is not known" for place in unknown},
                "notes": what.notes,
            }
        )
        return
    for one in what.going:
        place = at.get(one.prepared.event_id)
        if dry_run or place is not None:
            went = "" if dry_run else f"replayed as {place}: "
            print(
                printable(
                    f"{one.prepared.letter.place}: {went}{masked_text(one.outcome.words)}{_changed(one.prepared.edits)}"
                )
            )
    for refused in what.refused:
        print(printable(f"{refused.letter.place}: not replayed: {masked_text(refused.why)}"), file=sys.stderr)
    for place in unknown:
        print(f"{place}: is not known", file=sys.stderr)
    for note in what.notes:
        print(f"note: {note}", file=sys.stderr)
    if not (dry_run or done):
        print("nothing was replayed", file=sys.stderr)


def _gone(one: Going, place: Place | None) -> dict[str, Any]:
    return {
        "dead_letter": str(one.prepared.letter.place),
        "event_id": one.prepared.event_id,
        "edits": [asdict(masked_edit(edit)) for edit in one.prepared.edits],
        "expected": one.outcome.verdict,
        "words": masked_text(one.outcome.words),
        "place": place and str(place),
    }


def _changed(edits: Sequence[Edit]) -> str:
    told = [f"{edit.path} {edit.before or 'nothing'} → {edit.after or 'nothing'}" for edit in map(masked_edit, edits)]
    return f" ({', '.join(told)})" if told else ""


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "place": str(place_of(row)),
        **dict(row),
        "message": masked_text(row["message"]),
        **{name: row[name] and masked_name(row[name]) for name in ("event", "currency", "order_id")},
    }


def as_document(letter: Letter) -> dict[str, Any]:
    """Everything about a dead letter but the persons in it."""
    document = read_document(letter.value)
    return {
        "place": str(letter.place),
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "reason": letter.reason,
        "message": masked_text(letter.message),
        "record_at": letter.record_at,
        "key": letter.key and masked_name(letter.key.decode(errors="replace")),
        "value": masked(document),
        "value_length": letter.value_length,
        "value_sha256": letter.value_sha256,
        "value_is_kept": letter.value is not None,
        "headers": {
            name: masked_text(content.decode())
            for name, content in dead_letter_headers(letter.topic, letter.partition, letter)
        },
        "replays": [_replayed(letter, replay) for replay in letter.replays],
    }


def _replayed(letter: Letter, replay: Replay) -> dict[str, Any]:
    at = Place(letter.topic, replay.target_partition, replay.published_offset or 0)
    return {
        "event_id": replay.event_id,
        "place": None if replay.published_offset is None else str(at),
        "actor": replay.actor,
        "begun_at": replay.begun_at,
        "published_at": replay.published_at,
        "edits": [asdict(masked_edit(edit)) for edit in replay.edits],
        "became": _became(replay),
    }


def _became(replay: Replay) -> str:
    if replay.published_offset is None:
        return "begun, and not known to have gone out"
    if replay.refused_again is not None:
        return f"dead letter again: {replay.refused_again}"
    return "taken" if replay.is_taken else "not applied yet"
