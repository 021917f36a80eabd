"""`walletq publish`: events from JSON lines, each checked as the allocator would."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from operations.terminal import print_json
from producers.checks import EventRefused, checked
from producers.publisher import Publisher
from schemas.catalogue import Catalogue, read_catalogue
from schemas.events import Event, InvalidEvent, parse_event
from schemas.settings import Settings
from storage.errors import WalletqError

CHUNK = 5_000
SHOWN = 20


@dataclass
class Lines:
    """What was found in a file of JSON lines."""

    valid: int = 0
    invalid: list[tuple[int, str]] = field(default_factory=list)
    "Line number, reason."
    dropped_fields: int = 0
    "Invalid fields of final statuses, which are left out."


async def publish(settings: Settings, file: str, *, skip_invalid: bool, as_json: bool) -> int:
    """Publish the events of a file, or of standard input where it is "-". Returns the exit code."""
    catalogue = read_catalogue(settings.catalogue)
    with open_lines(file) as source:
        found = check_lines(source, catalogue)
        published = 0
        if skip_invalid or not found.invalid:
            source.seek(0)
            async with Publisher(settings) as publisher:
                for events in _chunks(source, catalogue):
                    published += len(await publisher.publish_many(events))
    _report(found, published, as_json=as_json)
    return 1 if found.invalid and not skip_invalid else 0


@contextmanager
def open_lines(file: str) -> Iterator[BinaryIO]:
    """The file; standard input is kept in a temporary one, since lines are checked before the first is published.

    Raises:
        WalletqError: it cannot be read.
    """
    with ExitStack() as exits:
        try:
            if file == "-":
                source: BinaryIO = exits.enter_context(tempfile.TemporaryFile())
                shutil.copyfileobj(sys.stdin.buffer, source)
                source.seek(0)
            else:
                source = exits.enter_context(Path(file).open("rb"))
        except OSError as error:
            raise WalletqError(f"{file} cannot be read: {error.strerror}") from None
        yield source


def check_lines(source: BinaryIO, catalogue: Catalogue) -> Lines:
    """Which lines are events that the allocator would take. Empty lines are passed over."""
    found = Lines()
    for number, line in _numbered(source):
        try:
            parsed = parse_event(line)
            checked(parsed.event, catalogue)
        except (InvalidEvent, EventRefused) as error:
            found.invalid.append((number, str(error)))
        else:
            found.valid += 1
            found.dropped_fields += parsed.dropped_fields
    return found


def _numbered(source: BinaryIO) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(source, start=1):
        if text := line.strip():
            yield number, text


def _chunks(source: BinaryIO, catalogue: Catalogue) -> Iterator[list[Event]]:
    chunk: list[Event] = []
    for _, line in _numbered(source):
        try:
            chunk.append(checked(parse_event(line).event, catalogue))
        except (InvalidEvent, EventRefused):
            continue  # reported already
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _report(found: Lines, published: int, *, as_json: bool) -> None:
    if as_json:
        invalid = [{"line": number, "reason": reason} for number, reason in found.invalid]
        print_json({"published": published, "invalid": invalid, "dropped_fields": found.dropped_fields})
        return
    for number, reason in found.invalid[:SHOWN]:
        print(f"line {number}: {reason}", file=sys.stderr)
    if len(found.invalid) > SHOWN:
        print(f"and {len(found.invalid) - SHOWN} more invalid lines", file=sys.stderr)
    if found.dropped_fields:
        print(f"left out {found.dropped_fields} invalid fields of final statuses", file=sys.stderr)
    if found.invalid and not published:
        print(
            f"nothing was published: {len(found.invalid)} of {found.valid + len(found.invalid)} lines are invalid"
            " (--skip-invalid publishes the others)",
            file=sys.stderr,
        )
    else:
        print(f"published {published} events" + (f", skipped {len(found.invalid)}" if found.invalid else ""))
