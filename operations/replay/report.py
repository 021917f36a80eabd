"""What `walletq replay` prints: what was taken as given, what was compared, what differs."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from operations.replay.audit import Audit
from operations.replay.compare import AUDIT, SHOWN_ROWS, Compared, Words
from operations.replay.inputs import Inputs
from operations.replay.rebuild import Rebuilt
from operations.replay.shadow import Change
from operations.terminal import Grid, print_grids, print_json

DIGEST = 12
"So many characters of a digest name it."


def audit_document(audit: Audit) -> dict[str, Any]:
    """For --json."""
    return {
        "agrees": audit.agrees,
        "records": audit.records,
        "catalogues": [
            {"partition": at, "from_offset": since, "sha256": catalogue.sha256}
            for at, recorded in audit.inputs.catalogues.items()
            for since, catalogue in recorded
        ],
        "refused": [
            {"partition": at, "offset": offset, "message": message}
            for at, refused in audit.inputs.refused.items()
            for offset, message in refused.items()
        ],
        "tables": [_table_document(compared) for compared in audit.tables],
    }


def print_audit(audit: Audit, topic: str, *, as_json: bool) -> None:
    """The comparison with the database."""
    if as_json:
        print_json(audit_document(audit))
        return
    print(f"replayed {audit.records:,} records of {topic}\n")
    print(_inputs(audit.inputs))
    print()
    print_grids([_grid(audit.tables)])
    print()
    _print_differences(audit.tables, AUDIT)
    print("the database agrees with the log" if audit.agrees else "the database differs from the log")


def print_shadow(audit: Audit, changes: Sequence[Change], topic: str, words: Words, *, as_json: bool) -> None:
    """What would be otherwise."""
    if as_json:
        summary = [change._asdict() for change in changes]
        print_json(audit_document(audit) | {"would_change": not audit.agrees, "changes": summary})
        return
    print(f"replayed {audit.records:,} records of {topic} under the other rules\n")
    if audit.agrees:
        print("nothing would change")
        return
    print("\n".join(f"{change.rows:>9,}  {change.what}" for change in changes))
    print()
    _print_differences(audit.tables, words)
    print("something would change")


def print_rebuilt(rebuilt: Rebuilt, topic: str, given: Inputs, *, as_json: bool) -> None:
    """What was rebuilt."""
    configured = not given.catalogues
    if as_json:
        print_json(
            {
                "records": rebuilt.records,
                "refused": rebuilt.refused,
                "partitions_to_publish": rebuilt.unpublished,
                "contradicted": list(rebuilt.contradicted[:SHOWN_ROWS]),
                "foreign_dead_letters": rebuilt.foreign,
                "catalogue": rebuilt.catalogue.sha256 if configured else None,
            }
        )
        return
    print(f"applied {rebuilt.records:,} records of {topic}; {rebuilt.refused:,} of them the database did not take")
    if configured:
        print(
            f"the configured catalogue ({rebuilt.catalogue.sha256[:DIGEST]}) decided from the first record on, since "
            "no others were given (--inputs)"
        )
    if rebuilt.foreign:
        print(f"{rebuilt.foreign} records have dead letters with other bytes than theirs, which were passed over")
    if rebuilt.contradicted:
        more = ["  and more"] if len(rebuilt.contradicted) > SHOWN_ROWS else []
        print("\n".join(["notifications on the topic say otherwise:", *_indented(rebuilt.contradicted), *more]))
        print(
            "do not use this database: upstream and customers were told something else. Other catalogues or refused "
            "records than those that were given decided then: give them with --inputs (`walletq replay --save-inputs` "
            "writes them), on a new empty database"
        )
        return
    if rebuilt.unpublished:
        print(
            f"{rebuilt.unpublished} partitions have notifications or dead letters that are not on their topics: "
            "the next allocator publishes them"
        )
    print("check it with `walletq replay`, then start the allocators")


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines[:SHOWN_ROWS]]


def _inputs(inputs: Inputs) -> str:
    """What the log does not hold, and was taken from the database."""
    since = defaultdict(list)
    for at, recorded in sorted(inputs.catalogues.items()):
        for from_offset, catalogue in recorded:
            since[catalogue.sha256].append(f"{at}/{from_offset}")
    lines = [
        f"  catalogue {sha256[:DIGEST]} decided from (partition/offset) {', '.join(places)} on"
        for sha256, places in since.items()
    ]
    lines += [
        f"  the database did not take {at}/{offset}: {message}"
        for at, refused in sorted(inputs.refused.items())
        for offset, message in sorted(refused.items())
    ]
    return "\n".join(["taken as given, since the log does not hold it:", *(lines or ["  nothing"])])


def _grid(tables: Sequence[Compared]) -> Grid:
    rows = [
        (compared.table.name, compared.replayed, compared.stored, compared.differing, compared.missing, compared.extra)
        for compared in tables
    ]
    return Grid("Rows", ("table", "replayed", "in database", "differing", "only replayed", "only in database"), rows)


def _print_differences(tables: Sequence[Compared], words: Words) -> None:
    lines = []
    for compared in tables:
        lines += [f"  {compared.table.name} {difference.as_text(words)}" for difference in compared.differences]
        rows = compared.differing + compared.missing + compared.extra
        if rows > SHOWN_ROWS:
            lines.append(f"  {compared.table.name}: {rows - SHOWN_ROWS:,} more rows")
    if lines:
        print("\n".join(["first differences:", *lines, ""]))


def _table_document(compared: Compared) -> dict[str, Any]:
    return {
        "table": compared.table.name,
        "replayed": compared.replayed,
        "in_database": compared.stored,
        "differing": compared.differing,
        "only_replayed": compared.missing,
        "only_in_database": compared.extra,
        "columns": dict(compared.columns),
        "differences": [vars(difference) for difference in compared.differences],
    }
