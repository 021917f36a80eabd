"""I5: the database equals a replay of the log."""

from dataclasses import replace

from consumers.errors import LogDoesNotFit
from operations.kafka_log import KafkaLog
from operations.replay.audit import Audit, audit, catch_up
from operations.replay.inputs import CatalogueUnreadable
from operations.replay.progress import Bar
from operations.replay.replaying import LogIsShort, Replay
from operations.replay.state import ReplayedState
from operations.verify.finding import Finding, Offenders, found
from operations.verify.snapshot import Snapshot
from schemas.settings import Settings

PROMISE = "the database equals a replay of the log"
LEFT_OUT = Finding("I5", PROMISE, "nothing", "not checked", note="left out (--without-replay)")


class ReplayCheck:
    """Catches up with the database before the snapshot, and compares within it."""

    def __init__(self, topic: str, log: KafkaLog, state: ReplayedState, bar: Bar) -> None:
        self._replay = Replay(topic, log, state, bar=bar)
        self._log = log
        self._short: LogIsShort | None = None
        self._finding: Finding | None = None

    async def catch_up(self, settings: Settings) -> None:
        """Replay most of the log, of the partitions whose log is whole."""
        try:
            try:
                await catch_up(settings, self._replay)
            except LogIsShort as short:
                self._leave_out(short)
                await catch_up(settings, self._replay)
        except (LogDoesNotFit, CatalogueUnreadable) as error:
            self._finding = _without_comparison(error)

    async def check(self, snapshot: Snapshot) -> Finding:
        """Replay the rest, and compare."""
        if self._finding is not None:
            return self._finding
        try:
            return self._found(await audit(self._replay, snapshot.connection))
        except LogIsShort:  # only since it was looked at
            return Finding("I5", PROMISE, "nothing", "not checked", note="first records have just been deleted")
        except (LogDoesNotFit, CatalogueUnreadable) as error:
            return _without_comparison(error)

    def _leave_out(self, short: LogIsShort) -> None:
        self._short = short
        whole = frozenset(range(self._log.partitions[short.topic])) - short.starts.keys()
        self._replay.scope = replace(self._replay.scope, partitions=whole)

    def _found(self, audited: Audit) -> Finding:
        offenders = Offenders()
        for compared in audited.tables:
            for difference in compared.differences:
                offenders.add(f"{compared.table.name} {difference.as_text()}")
        rows = sum(max(compared.replayed, compared.stored) for compared in audited.tables)
        finding = found("I5", PROMISE, f"{audited.records:,} records, {rows:,} rows", offenders.named)
        refused = sum(map(len, audited.inputs.refused.values()))
        notes = [f"{refused:,} records that the database refused are taken as given"] if refused else []
        if self._short is not None:
            notes.append(f"{len(self._short.starts)} partitions left out, whose first records are gone")
            if not audited.records:
                finding = replace(finding, result="not checked")
        return replace(finding, note="; ".join(notes) or None)


def _without_comparison(error: LogDoesNotFit | CatalogueUnreadable) -> Finding:
    if isinstance(error, CatalogueUnreadable):
        return found("I5", PROMISE, "nothing", [str(error)])
    return Finding("I5", PROMISE, "nothing", "not checked", note="the log does not fit the database")
