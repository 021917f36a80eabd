"""What recomputes the state from the log: replay."""

from pathlib import Path
from typing import Annotated

import typer

from operations.commands.options import Json

app = typer.Typer()


@app.command(epilog="Example: walletq replay --shadow --catalogue new.toml")
def replay(
    partition: Annotated[
        list[int] | None,
        typer.Option("--partition", "-p", metavar="N", help="Only this partition; may be given again.", min=0),
    ] = None,
    start: Annotated[
        int, typer.Option("--from", metavar="OFFSET", help="Compare only what happened from this offset on.", min=0)
    ] = 0,
    end: Annotated[
        int | None, typer.Option("--to", metavar="OFFSET", help="Compare only what happened below this offset.", min=0)
    ] = None,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Say what would change under another catalogue or other rules.")
    ] = False,
    catalogue: Annotated[
        Path | None,
        typer.Option("--catalogue", metavar="FILE", help="With --shadow: this one; else the configured one."),
    ] = None,
    rules: Annotated[
        str | None,
        typer.Option("--rules", metavar="MODULE:FUNCTION", help="With --shadow: in place of decide; same signature."),
    ] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Fill an empty, migrated database from the log.")] = False,
    inputs: Annotated[
        Path | None,
        typer.Option("--inputs", metavar="FILE", help="With --rebuild: catalogues and refused records to go by."),
    ] = None,
    save_inputs: Annotated[
        Path | None,
        typer.Option("--save-inputs", metavar="FILE", help="Keep the catalogues and refused records for a rebuild."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Recompute the state from the log.

    Reads order-status from its first record, applies the allocator's rules, and compares the outcome with the
    database row by row: partitions, orders, wallets, assignments, dead letters. Exit code 0 where they agree, 1 where
    they differ. Which catalogue decided from where on, and which records the database did not take, is no part of the
    log: it is taken from the database, and listed. It may run beside everything else, and changes nothing.

    With --from or --to the log is still read from its first record, since nothing in the middle can be checked
    otherwise, but only what happened in the range is compared: assignments that began or ended in it, as they were at
    its end, and its dead letters. Orders, wallets and counters have moved on since, and are left out.

    --shadow replays under another catalogue (from the first record on) or other rules, and says what would differ
    from the database. Exit code 1 where something would.

    --rebuild fills a database in which every table is empty, up to the end of the log. Catalogues are those of
    --inputs (a file that --save-inputs wrote), else the configured one from the first record on. Notifications that
    are on their topic are not published again; exit code 1 where one of them contradicts what was rebuilt. Deliveries
    are not in the log: a mailer on the new database reads all notifications again, so that customers whose orders are
    still open may get their mail again, with the same Message-ID. An interrupted rebuild cannot be resumed: begin with
    a new database.
    """
    import gc

    from operations.process import run, settings_for_command
    from operations.replay.command import compare_with_database, rebuild_database, try_other_rules
    from operations.replay.replaying import Scope

    ranged = start > 0 or end is not None
    _refuse(shadow and rebuild, "--shadow and --rebuild are two different things; choose one")
    _refuse(not shadow and bool(catalogue or rules), "--catalogue and --rules go with --shadow")
    _refuse(not rebuild and inputs is not None, "--inputs goes with --rebuild")
    _refuse((shadow or rebuild) and save_inputs is not None, "--save-inputs goes with a plain replay")
    _refuse(ranged and (shadow or rebuild), "--from and --to go with a plain replay")
    _refuse(rebuild and bool(partition), "--rebuild is of all partitions")
    _refuse(end is not None and end <= start, "--to must be above --from")
    settings = settings_for_command()
    scope = Scope(frozenset(partition) if partition else None, start, end)
    if rebuild:
        work = rebuild_database(settings, inputs, as_json=as_json)
    elif shadow:
        work = try_other_rules(settings, scope, catalogue, rules, as_json=as_json)
    else:
        work = compare_with_database(settings, scope, save_inputs, as_json=as_json)
    # Batches make many objects and no cycles: looking for these takes a tenth of the time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    raise typer.Exit(run(settings, work))


def _refuse(wrong: bool, why: str) -> None:
    if wrong:
        raise typer.BadParameter(why)
