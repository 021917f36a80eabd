"""What was refused: list, show, replay."""

import sys
from enum import StrEnum
from typing import Annotated

import typer

from operations.commands.options import Actor, Json, Limit, operator, read_duration

app = typer.Typer()
dead_letters = typer.Typer(name="dead-letters", help="What was refused, and why.", no_args_is_help=True)
app.add_typer(dead_letters)


class State(StrEnum):
    """Whether a dead letter was replayed."""

    open = "open"
    replayed = "replayed"


PLACE = "TOPIC/PARTITION/OFFSET, as `list` shows it; the topic may be left out where it is order-status."
Topic = Annotated[str | None, typer.Option("--topic", "-t", metavar="T", help="Only those of this topic's records.")]
Partition = Annotated[
    int | None, typer.Option("--partition", "-p", metavar="N", help="Only of this partition.", min=0, max=2**31 - 1)
]
Offset = Annotated[int | None, typer.Option("--offset", metavar="N", help="Only at this offset.", min=0, max=2**63 - 1)]
Reasons = Annotated[
    list[str] | None,
    typer.Option("--reason", "-r", metavar="R", help="Only for this reason; may be given again.", show_default=False),
]
Order = Annotated[str | None, typer.Option("--order", "-o", metavar="ORDER", help="Only those that name this order.")]
Currency = Annotated[
    str | None, typer.Option("--currency", "-c", metavar="C", help="Only those that name this currency.")
]
OlderThan = Annotated[
    float | None,
    typer.Option("--older-than", metavar="T", parser=read_duration, help="Only older records: 90s, 15m, 2h, 7d."),
]
NewerThan = Annotated[
    float | None, typer.Option("--newer-than", metavar="T", parser=read_duration, help="Only newer records.")
]


@dead_letters.command("list", epilog="Example: walletq dead-letters list --reason network_required --newer-than 1d")
def dead_letters_list(
    topic: Topic = None,
    partition: Partition = None,
    offset: Offset = None,
    reason: Reasons = None,
    order: Order = None,
    currency: Currency = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    state: Annotated[
        State | None, typer.Option("--state", "-s", help="Only those that were replayed, or were not.")
    ] = None,
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    """List dead letters, the newest first."""
    from operations.dead_letters.commands import list_letters
    from operations.dead_letters.letters import Wanted
    from operations.process import run, settings_for_command

    settings = settings_for_command()
    replayed = None if state is None else state is State.replayed
    wanted = Wanted(topic, partition, offset, reason, order, currency, older_than, newer_than, replayed, limit)
    raise typer.Exit(run(settings, list_letters(settings, wanted, as_json=as_json)))


@dead_letters.command("show", epilog="Example: walletq dead-letters show order-status/3/17")
def dead_letters_show(
    place: Annotated[str, typer.Argument(metavar="PLACE", help=PLACE)],
    raw: Annotated[
        bool, typer.Option("--raw", help="Write nothing but the record's bytes, with all that is personal in them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show everything about a dead letter.

    What was refused and why, its headers, and what was replayed of it. Of the record only the fields of the
    contract, and of an e-mail address only the domain.
    """
    from operations.dead_letters.commands import show_letter
    from operations.process import run, settings_for_command

    if raw and as_json:
        raise typer.BadParameter("--raw and --json are two different things; choose one")
    settings = settings_for_command()
    raise typer.Exit(run(settings, show_letter(settings, place, raw=raw, as_json=as_json)))


@dead_letters.command(
    "replay", epilog="Example: walletq dead-letters replay order-status/3/17 --set network=TRC-20 --dry-run"
)
def dead_letters_replay(
    places: Annotated[list[str] | None, typer.Argument(metavar="PLACE...", help=PLACE, show_default=False)] = None,
    *,
    topic: Topic = None,
    partition: Partition = None,
    offset: Offset = None,
    reason: Reasons = None,
    order: Order = None,
    currency: Currency = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    limit: Annotated[int, typer.Option("--limit", "-l", metavar="N", help="At most so many.", min=1, max=1_000)] = 100,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=TEXT",
            help="Edit the event, one alone: network=TRC-20, recipient.locale=en; expires_at= leaves a field out.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would become of it, and change nothing.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Replay what was replayed before, too.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replay it although the rules, as things are, would make nothing of it.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    actor: Actor = None,
    as_json: Json = False,
) -> None:
    """Put refused events onto their topic again.

    Each gets a new event id, and a link to the record that was refused; edits are on record. What the rules would
    refuse again, or make nothing of, is not replayed. Without a place: what the other options say and was not replayed
    before, the oldest first, after a question.
    """
    from operations.dead_letters.commands import Replaying, replay_letters
    from operations.dead_letters.edits import read_settings_of
    from operations.dead_letters.letters import Wanted
    from operations.dead_letters.planning import Terms
    from operations.process import run, settings_for_command

    replayed = None if again else False
    wanted = Wanted(topic, partition, offset, reason, order, currency, older_than, newer_than, replayed, limit)
    if not (places or yes or dry_run) and (as_json or not sys.stdin.isatty()):
        raise typer.BadParameter("there is no terminal to ask on: say --yes, or --dry-run to see what it comes to")
    settings = settings_for_command()
    wish = Replaying(
        places or [],
        wanted,
        Terms(read_settings_of(sets or []), again=again, force=force),
        actor or operator(),
        dry_run=dry_run,
        confirm=None if yes else lambda question: typer.confirm(question, err=True),
    )
    raise typer.Exit(run(settings, replay_letters(settings, wish, as_json=as_json)))
