"""The mailer's deliveries: list, show, retry, hold, settle."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from operations.commands.options import (
    DeliveryState,
    Json,
    Limit,
    operator,
    read_duration,
    read_note,
    read_past_time,
)

if TYPE_CHECKING:
    from operations.deliveries import Change, Wanted

app = typer.Typer()
deliveries = typer.Typer(name="deliveries", help="The mails, and what became of them.", no_args_is_help=True)
app.add_typer(deliveries)

Ids = Annotated[list[UUID] | None, typer.Argument(metavar="ID...", help="The notifications' ids.", show_default=False)]
State = Annotated[DeliveryState | None, typer.Option("--state", "-s", help="Only those in this state.")]
Order = Annotated[str | None, typer.Option("--order", "-o", metavar="ORDER", help="Only those of this order.")]
Currency = Annotated[str | None, typer.Option("--currency", "-c", metavar="C", help="Only those of this currency.")]
OlderThan = Annotated[
    float | None,
    typer.Option(
        "--older-than", metavar="T", parser=read_duration, help="Only those made longer ago: 90s, 15m, 2h, 7d."
    ),
]


@deliveries.command("list", epilog="Example: walletq deliveries list --state failed --older-than 1h")
def deliveries_list(
    state: State = None,
    order: Order = None,
    currency: Currency = None,
    older_than: OlderThan = None,
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    """List deliveries, the newest first.

    Of a recipient only the domain is shown.
    """
    from operations.deliveries import Wanted, list_deliveries
    from operations.process import run, settings_for_command

    settings = settings_for_command()
    wanted = Wanted(None, state and [state.value], order, currency, older_than, limit)
    raise typer.Exit(run(settings, list_deliveries(settings, wanted, as_json=as_json)))


@deliveries.command("show", epilog="Example: walletq deliveries show 3c1a1aeb-4ab5-4737-95ef-b9c0bcd2f0de")
def deliveries_show(
    notification_id: Annotated[UUID, typer.Argument(metavar="ID", help="The notification's id.")],
    as_json: Json = False,
) -> None:
    """Show everything about a delivery.

    Of the recipient only the domain.
    """
    from operations.deliveries import show_delivery
    from operations.process import run, settings_for_command

    settings = settings_for_command()
    raise typer.Exit(run(settings, show_delivery(settings, notification_id, as_json=as_json)))


@deliveries.command("retry", epilog="Example: walletq deliveries retry --state failed --currency USDT")
def deliveries_retry(
    ids: Ids = None,
    *,
    state: State = None,
    order: Order = None,
    currency: Currency = None,
    older_than: OlderThan = None,
    limit: Limit = 1_000,
    as_json: Json = False,
) -> None:
    """Send mails again.

    What failed, was held, expired, or waits for its next attempt; not what was sent or what a mailer has at this
    moment, nor the mail of an order that has ended or expired. Without an id and --state: what failed, was held or
    expired, of what the other options say. A mail that is held since nobody knows whether it was sent may arrive twice.
    """
    from operations.deliveries import Wanted

    _change("retry", Wanted(ids or None, state and [state.value], order, currency, older_than, limit), as_json=as_json)


@deliveries.command("hold", epilog="Example: walletq deliveries hold --order ord-7f3c")
def deliveries_hold(
    ids: Ids = None,
    *,
    state: State = None,
    order: Order = None,
    currency: Currency = None,
    older_than: OlderThan = None,
    limit: Limit = 1_000,
    as_json: Json = False,
) -> None:
    """Hold mails back that are due, until they are retried."""
    from operations.deliveries import Wanted

    _change("hold", Wanted(ids or None, state and [state.value], order, currency, older_than, limit), as_json=as_json)


@deliveries.command(
    "settle", epilog="Example: walletq deliveries settle 3c1a1aeb-4ab5-4737-95ef-b9c0bcd2f0de --note 'queued as 4F2C1'"
)
def deliveries_settle(
    notification_id: Annotated[UUID, typer.Argument(metavar="ID", help="The notification's id.")],
    *,
    at: Annotated[
        datetime | None,
        typer.Option(
            "--at",
            metavar="TIME",
            parser=read_past_time,
            help="When the mail server took it, such as 2026-11-22T16:00:00Z; when it was held where it is left out.",
        ),
    ] = None,
    note: Annotated[
        str | None,
        typer.Option("--note", metavar="TEXT", parser=read_note, help="What the log says; nothing personal."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write down that a held mail went out.

    Once you have seen in the mail server's log that it has the mail. The delivery is sent then, nothing sends it
    again, and who settled it is on record.
    """
    from operations.deliveries import Seen, settle_delivery
    from operations.process import run, settings_for_command

    settings = settings_for_command()
    work = settle_delivery(settings, notification_id, Seen(at, note), actor=operator(), as_json=as_json)
    raise typer.Exit(run(settings, work))


def _change(change: "Change", wanted: "Wanted", *, as_json: bool) -> None:
    from operations.deliveries import change_deliveries
    from operations.process import run, settings_for_command

    settings = settings_for_command()
    raise typer.Exit(run(settings, change_deliveries(settings, change, wanted, actor=operator(), as_json=as_json)))
