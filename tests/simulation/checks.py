"""What must hold after every commit and every publish, whatever has gone wrong before."""

from functools import lru_cache

from consumers.allocator.state import Notification, Reason
from tests.reference import Catalogue, Model, violations
from tests.reference.agreement import disagreement, facts_of_model, facts_of_rows
from tests.reference.events import DeadLetterError, Event, parse
from tests.simulation.broker import NAMES, LoggedRecord, SimulatedLog, SimulatedTopics
from tests.simulation.database import Database, PlaceRow
from tests.simulation.events import POISON, REFERENCE_CATALOGUES, catalogues


@lru_cache(20_000)
def _parsed(value: bytes | None, catalogue: int) -> Event | str:
    """The event, or why it is none. An error that is kept would keep the frames that it has passed, and their plans."""
    try:
        return parse(value, REFERENCE_CATALOGUES[catalogue])
    except DeadLetterError as dead:
        return dead.reason


def parse_once(value: bytes | None, catalogue: Catalogue) -> Event:
    """As the reference model's `parse`: the plans have few different records, and there are many plans."""
    parsed = _parsed(value, next(n for n, known in enumerate(REFERENCE_CATALOGUES) if known is catalogue))
    if isinstance(parsed, str):
        raise DeadLetterError(parsed)
    return parsed


class Checks:
    """Compares what is committed and published with the reference model, which takes each record once, in order."""

    def __init__(self, partition: int, log: SimulatedLog, database: Database, topics: SimulatedTopics) -> None:
        self._partition = partition
        self._log = log
        self._database = database
        self._topics = topics
        self._model = Model(parse=parse_once)
        self._taken = 0
        self._place = self._watermark = 0
        self._seen = 0
        self._contents: dict[tuple[str, int], object] = {}
        "What was published first of each assignment and dead letter, by its offset."
        self._reference = {
            catalogue.sha256: reference for catalogue, reference in zip(catalogues(), REFERENCE_CATALOGUES, strict=True)
        }

    def after_commit(self) -> str | None:
        """I1 to I6: the state is that of the log up to the place. I7: what is below the watermark is published."""
        row = self._database.places.get((NAMES.orders, self._partition))
        if row is None:
            return None
        if row.next_offset < self._place:
            return f"the place went back from {self._place} to {row.next_offset}"
        if row.published_offset < self._watermark:
            return f"the watermark went back from {self._watermark} to {row.published_offset}"
        if (found := self._replay(row)) is not None:
            return found
        if row.published_offset > self._watermark:
            kept = [*self._offsets_of_assignments(), *self._offsets_of_dead_letters()]
            missing = [at for at in kept if at[1] < row.published_offset and at not in self._contents]
            if missing:
                return f"I7: the watermark is {row.published_offset}, but {missing} are not published"
            self._watermark = row.published_offset
        return None

    def after_publish(self) -> str | None:
        """I7: what is published is committed, and repeated word by word."""
        for item, message in self._topics.messages[self._seen :]:
            if isinstance(item, Notification):
                offset = item.assignment.assigned_offset
                name = ("notification", offset)
                made = self._database.assignments.get((self._partition, offset))
                known = made is not None and made._replace(released_offset=None, released_at=None) == (
                    item.assignment._replace(released_offset=None, released_at=None)
                )
            else:
                name = ("dead letter", item.offset)
                known = self._database.dead_letters.get((NAMES.orders, self._partition, item.offset)) == item
            if not known:
                return f"I7: a {name[0]} of offset {name[1]} is published, but not committed"
            if self._contents.setdefault(name, message) != message:
                return f"I7: the {name[0]} of offset {name[1]} is repeated with another content"
        self._seen = len(self._topics.messages)
        return None

    def left(self) -> str | None:
        """I10: what is still to be done."""
        row = self._database.places.get((NAMES.orders, self._partition), PlaceRow(0, ""))
        unread = self._log.from_(row.next_offset, 1)
        if unread:
            return f"offset {unread[0].offset} is not applied"
        if row.published_offset < row.next_offset:
            return f"applied up to {row.next_offset}, published up to {row.published_offset}"
        missing = {*self._offsets_of_assignments(), *self._offsets_of_dead_letters()} - self._contents.keys()
        return f"{missing} are not published" if missing else None

    def _replay(self, row: PlaceRow) -> str | None:
        refused = {
            kept.offset for kept in self._database.dead_letters.values() if kept.reason == Reason.STORAGE_REFUSED
        }
        for record in self._log.from_(self._place, len(self._log.records)):
            if record.offset >= row.next_offset:
                break
            if record.offset in refused and POISON.encode() not in (record.value or b""):
                return f"I6: the record at offset {record.offset} is refused, though the database takes it"
            self._take(record, refused)
        self._place = row.next_offset
        differing = disagreement(
            facts_of_rows(
                self._database.orders,
                self._database.wallets,
                self._database.assignments,
                [(self._partition, kept.offset, kept.reason) for kept in self._database.dead_letters.values()],
                row.counts,
            ),
            facts_of_model(self._model),
        )
        if differing:
            return f"I5: at {row.next_offset} {differing}"
        found = violations(self._model, self._taken)
        return "; ".join(found) if found else None

    def _take(self, record: LoggedRecord, refused: set[int]) -> None:
        applied = [
            (from_offset, catalogue.sha256)
            for (_, _, from_offset), catalogue in self._database.catalogues.items()
            if from_offset <= record.offset
        ]
        self._model.catalogue = self._reference[max(applied)[1]]
        self._model.refused = frozenset((self._partition, offset) for offset in refused)
        self._model.take(record)
        self._taken += 1

    def _offsets_of_assignments(self) -> list[tuple[str, int]]:
        return [("notification", offset) for _, offset in self._database.assignments]

    def _offsets_of_dead_letters(self) -> list[tuple[str, int]]:
        return [("dead letter", offset) for _, _, offset in self._database.dead_letters]
