"""What looks and changes nothing: status, why, verify."""

from typing import Annotated

import typer

from operations.commands.options import Json, OrderCurrency, read_interval, read_seconds

app = typer.Typer()


@app.command(epilog="Example: walletq status --watch")
def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep it on the screen until Ctrl-C.")] = False,
    interval: Annotated[
        float,
        typer.Option("--interval", metavar="S", parser=read_interval, help="With --watch: seconds between two looks."),
    ] = 1,
    as_json: Json = False,
) -> None:
    """Show pools, queues, lags, mails, dead letters.

    A pool without a free wallet is EMERGENCY; with no more than the catalogue's critical_free, CRITICAL.
    """
    from operations.process import run, settings_for_command
    from operations.status.command import show_status

    settings = settings_for_command()
    raise typer.Exit(run(settings, show_status(settings, watch=interval if watch else None, as_json=as_json)))


@app.command(epilog="Example: walletq why ord-7f3c")
def why(
    order_id: Annotated[str, typer.Argument(metavar="ORDER", help="The order's id.")],
    currency: OrderCurrency = None,
    as_json: Json = False,
) -> None:
    """Tell an order's story.

    What happened to it and when, where it stands in the queue, which wallet it got, and what became of its mails.
    """
    from operations.process import run, settings_for_command
    from operations.why.command import why as run_why

    settings = settings_for_command()
    raise typer.Exit(run(settings, run_why(settings, order_id, currency, as_json=as_json)))


@app.command(epilog="Example: walletq verify --wait 30")
def verify(
    drained: Annotated[bool, typer.Option("--drained", help="Require that there is no lag, too.")] = False,
    wait: Annotated[
        float | None,
        typer.Option(
            "--wait", metavar="S", parser=read_seconds, help="Require it, but wait for it up to so many seconds."
        ),
    ] = None,
    without_replay: Annotated[
        bool, typer.Option("--without-replay", help="Leave out I5, which takes the longest on a long log.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check the invariants, everywhere.

    In the database and on the topics; exit code 1 where one does not hold.

    It may run beside everything else, and changes nothing."""
    from operations.process import run, settings_for_command
    from operations.verify import verify as run_verify

    settings = settings_for_command()
    work = run_verify(settings, drained=drained, wait_seconds=wait, replay=not without_replay, as_json=as_json)
    raise typer.Exit(run(settings, work))
